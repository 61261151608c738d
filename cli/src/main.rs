//! The command `bigarray`.

fn main() -> std::process::ExitCode {
    bigarray_cli::main()
}
