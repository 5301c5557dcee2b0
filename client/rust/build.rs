//! Generates the messages and the stub. `proto` is a link to the project's: in a package, a copy.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/rerankd/v1/rerank.proto");
    let files = protox::compile(["rerankd/v1/rerank.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .server_mod_attribute(".", "#[cfg(test)]")
        .compile_fds(files)?;
    Ok(())
}
