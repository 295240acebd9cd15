//! Generates CRI's types, clients and servers from `proto/runtime.proto`, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/runtime.proto");
    let descriptors = protox::compile(["proto/runtime.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Credentials must not reach a log through `{:?}`; `auth_config.rs` prints them masked.
        .skip_debug(["runtime.v1.AuthConfig"])
        // In order of their keys, so that equal messages have equal bytes.
        .btree_map(".")
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
