//! Writes the description to standard output.

fn main() -> anyhow::Result<()> {
    println!("{}", aftercall_openapi::document().to_pretty_json()?);
    Ok(())
}
