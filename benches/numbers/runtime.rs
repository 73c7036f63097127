//! The npm package @anthropic-ai/sandbox-runtime: its command, which starts everything anew, and
//! its library in a process where everything is up.

use std::process::Command;

use crate::tools::{environment, said, sandbox_runtime, timed};

/// Sets the library up once, then starts `true` in it again and again.
const LIBRARY: &str = r"
import { pathToFileURL } from 'node:url'
import { spawn } from 'node:child_process'
const [folder, rounds] = process.argv.slice(1)
const { SandboxManager } = await import(pathToFileURL(`${folder}/dist/index.js`))
await SandboxManager.initialize({
  network: { allowedDomains: [], deniedDomains: [] },
  filesystem: { denyRead: [], allowRead: [], allowWrite: [], denyWrite: [] },
})
const once = async () => {
  const begun = process.hrtime.bigint()
  const command = await SandboxManager.wrapWithSandbox('true')
  const child = spawn(command, { shell: true, stdio: 'ignore' })
  const code = await new Promise(done => child.on('exit', done))
  if (code !== 0) throw new Error(`it ended with ${code}`)
  return Number(process.hrtime.bigint() - begun) / 1e6
}
await once()
const took = []
for (let round = 0; round < Number(rounds); round++) took.push(await once())
console.log(JSON.stringify(took))
await SandboxManager.reset()
process.exit(0)
";

pub(crate) struct Runtime(String);

impl Runtime {
    pub(crate) fn found() -> Result<Self, String> {
        let folder = sandbox_runtime();
        let there = folder.join("dist/cli.js").is_file() && said("node", &["--version"]).is_some();
        match there {
            true => Ok(Self(folder.display().to_string())),
            false => Err("sandbox-runtime is missing: run `scripts/bench-tools.sh`".to_owned()),
        }
    }

    /// Milliseconds of each launch through its library.
    pub(crate) fn launches(&self, rounds: usize) -> Result<Vec<f64>, String> {
        let mut command = Command::new("node");
        let words = ["--input-type=module", "-e", LIBRARY, "--", &self.0];
        command
            .args(words)
            .arg(rounds.to_string())
            .envs(environment());
        let output = command.output().map_err(|error| error.to_string())?;
        let told = String::from_utf8_lossy(&output.stdout);
        let last = told.lines().next_back().unwrap_or_default();
        serde_json::from_str(last).map_err(|_| {
            let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            format!("sandbox-runtime: {}: {told}", output.status)
        })
    }

    /// Milliseconds of each start of its command.
    pub(crate) fn commands(&self, rounds: usize) -> Result<Vec<f64>, String> {
        let once = |_| {
            let mut command = Command::new("node");
            command.arg(format!("{}/dist/cli.js", self.0)).arg("true");
            timed(command.envs(environment()))
        };
        (0..rounds).map(once).collect()
    }
}
