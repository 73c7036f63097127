//! The `loki` program: hands its arguments to [`loki::cli`] and exits with what that returns.

fn main() -> std::process::ExitCode {
    loki::cli::main()
}
