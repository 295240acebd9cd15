//! A registry with one image in it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};

/// Name of the image, without the registry.
pub(crate) const IMAGE: &str = "test/web:1";

/// A registry on loopback, for as long as the test runs.
pub(crate) struct Registry {
    address: String,
}

/// A path and what is there.
type Content = (String, &'static str, Vec<u8>);

impl Registry {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let contents = Arc::new(contents());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let contents = contents.clone();
                std::thread::spawn(move || serve(stream, &contents));
            }
        });
        Self { address }
    }

    /// The image's name, with the registry.
    pub(crate) fn image(&self) -> String {
        format!("{}/{IMAGE}", self.address)
    }
}

fn serve(stream: TcpStream, contents: &[Content]) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut request = String::new();
        while reader.read_line(&mut request).is_ok_and(|read| read > 2) {}
        let mut words = request.split_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return;
        };
        let found = contents.iter().find(|(at, _, _)| at == path);
        let (status, kind, body) = match found {
            Some((_, kind, body)) => ("200 OK", *kind, &body[..]),
            None if path == "/v2/" => ("200 OK", "application/json", &b"{}"[..]),
            None => ("404 Not Found", "application/json", &b"{}"[..]),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Content-Digest: {}\r\n\r\n",
            body.len(),
            digest(body)
        );
        let body = if method == "HEAD" { &[][..] } else { body };
        let mut stream = &stream;
        if stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body))
            .is_err()
        {
            return;
        }
    }
}

fn contents() -> Vec<Content> {
    let layer = tar("etc/passwd", b"root:x:0:0::/:/bin/sh\n");
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/entry"], "Cmd": ["serve"], "User": "1000:1001",
            "Env": ["PATH=/bin", "COLOUR=red"], "WorkingDir": "/srv", "StopSignal": "SIGQUIT",
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let blob = |bytes: &[u8]| format!("/v2/test/web/blobs/{}", digest(bytes));
    vec![
        (blob(&layer), "application/octet-stream", layer.clone()),
        (blob(&config), "application/octet-stream", config.clone()),
        (
            format!("/v2/test/web/manifests/{}", digest(&manifest)),
            MANIFEST,
            manifest.clone(),
        ),
        ("/v2/test/web/manifests/1".into(), MANIFEST, manifest),
    ]
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn descriptor(kind: &str, bytes: &[u8]) -> serde_json::Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// An archive with one file.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}
