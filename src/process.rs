//! Which process this is, also after its id was given to another.

/// Returns when a process of this machine started, in clock ticks since boot, or none when there is
/// no such process: field 22 of `/proc/PID/stat`, counted after the command's closing parenthesis
/// (proc(5)). With its id it names one process for as long as the machine runs.
#[must_use]
pub fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_there_has_started_and_says_the_same_again() {
        let own = started(std::process::id()).unwrap();
        assert!(own.bytes().all(|byte| byte.is_ascii_digit()), "{own}");
        assert_eq!(started(std::process::id()), Some(own));
        // Larger than the kernel gives.
        assert_eq!(started(u32::MAX), None);
    }
}
