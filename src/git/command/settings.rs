//! What is overridden in every repository, so that none of it starts a program or changes a byte.

/// Settings that hold for every call, whatever the repository says.
pub(super) const FIXED: &[(&str, &str)] = &[
    // Programs that git would start.
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.sshCommand", "false"),
    ("core.gitProxy", "false"),
    ("core.askPass", "false"),
    ("core.editor", "false"),
    ("core.pager", "cat"),
    ("core.alternateRefsCommand", "false"),
    ("credential.helper", ""),
    ("diff.external", ""),
    ("gpg.program", "false"),
    ("gpg.ssh.program", "false"),
    ("gpg.x509.program", "false"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("log.showSignature", "false"),
    ("merge.default", "text"),
    ("protocol.allow", "never"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // Other repositories that git would enter.
    ("submodule.recurse", "false"),
    ("status.submoduleSummary", "false"),
    ("diff.ignoreSubmodules", "all"),
    ("safe.bareRepository", "explicit"),
    // Files that git would read outside the repository.
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("diff.orderFile", "/dev/null"),
    // What is in a tree and what is in a worktree are the same bytes, names and modes.
    ("core.autocrlf", "false"),
    ("core.safecrlf", "false"),
    ("core.symlinks", "true"),
    ("core.fileMode", "true"),
    ("core.ignoreCase", "false"),
    ("core.precomposeUnicode", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    // A stat cache that an agent cannot talk into "unchanged".
    ("core.trustctime", "true"),
    ("core.checkStat", "default"),
    ("core.untrackedCache", "false"),
    ("core.splitIndex", "false"),
    ("core.sparseCheckout", "false"),
    ("core.sparseCheckoutCone", "false"),
    ("index.sparse", "false"),
    // The form of an index that Loki reads and writes itself.
    ("feature.manyFiles", "false"),
    ("index.version", "2"),
    ("index.threads", "1"),
    // Output and formats that do not depend on taste.
    ("core.quotePath", "false"),
    ("core.warnAmbiguousRefs", "false"),
    ("i18n.commitEncoding", "UTF-8"),
    ("merge.renormalize", "false"),
    // What lands at a path is what somebody wrote to that path.
    ("merge.renames", "false"),
    ("diff.renames", "false"),
    ("merge.directoryRenames", "false"),
    ("worktree.useRelativePaths", "false"),
    ("worktree.guessRemote", "false"),
];

/// Returns the harmless value for a configuration key that could start a program.
pub(super) fn neutral(key: &[u8]) -> Option<(String, String)> {
    let key = std::str::from_utf8(key).ok()?;
    let (section, rest) = key.split_once('.')?;
    let (_, variable) = rest.rsplit_once('.')?;
    let value = match (section, variable) {
        ("filter", "clean" | "smudge" | "process") => "",
        ("filter", "required") | ("hook", "enabled") => "false",
        ("merge", "driver") => "false",
        ("diff", "command" | "textconv") => "",
        ("hook", "command") => "true",
        ("gpg", "program") => "false",
        ("credential", "helper") => "",
        ("protocol", "allow") => "never",
        ("trailer", "command" | "cmd") => "true",
        _ => return None,
    };
    Some((key.to_owned(), value.to_owned()))
}
