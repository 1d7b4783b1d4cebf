//! `cargo local`: see [`aftercall_local`].

fn main() -> std::process::ExitCode {
    aftercall_local::main(std::env::args_os())
}
