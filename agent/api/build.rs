//! Generates the protocol's types, client and server from `proto/agent.proto`, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/agent.proto");
    let descriptors = protox::compile(["proto/agent.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".bulkhead.agent.v1.StreamInput.stdin")
        .bytes(".bulkhead.agent.v1.StreamOutput")
        .bytes(".bulkhead.agent.v1.DialInput.data")
        .bytes(".bulkhead.agent.v1.DialOutput.data")
        .build_client(std::env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .build_server(std::env::var_os("CARGO_FEATURE_SERVER").is_some())
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
