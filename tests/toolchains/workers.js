// Threads, child processes, files and a server on the loopback address.
const { Worker } = require("worker_threads");
const { execFileSync } = require("child_process");
const fs = require("fs"), http = require("http"), path = require("path");

const worker = (n) => new Promise((resolve, reject) => {
  const code = "const { parentPort, workerData } = require('worker_threads'); parentPort.postMessage(workerData * workerData)";
  new Worker(code, { eval: true, workerData: n }).on("message", resolve).on("error", reject);
});
const served = () => new Promise((resolve, reject) => {
  const server = http.createServer((_, answer) => answer.end("served")).listen(0, "127.0.0.1", () =>
    http.get({ port: server.address().port, host: "127.0.0.1" }, (answer) => {
      answer.on("data", (data) => { server.close(); resolve(String(data)); });
    }).on("error", reject));
});
(async () => {
  const squares = await Promise.all([1, 2, 3, 4].map(worker));
  for (let n = 0; n < 50; n++) fs.writeFileSync(path.join("web", `file-${n}`), String(n));
  const listed = execFileSync("ls", ["web"], { encoding: "utf8" }).match(/file-/g).length;
  console.log("node", squares.join(" "), listed, await served());
})();
