//! OCI images without a container engine: one layer around a static binary.

mod operator;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::tools::{self, Tool};

pub use operator::{OPERATOR, operator};

/// The name under which a node knows the application's image.
pub const APP: &str = "backstop.test/app:1";
/// The one of CoreDNS.
pub const COREDNS: &str = "backstop.test/coredns:1";
/// And the one that holds a pod's namespaces.
pub const PAUSE: &str = "backstop.test/pause:1";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image whose files are all in one layer.
///
/// The archive depends on nothing but what is said here: no time, no owner. The same files give the same digest.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    files: Vec<(String, PathBuf, u32)>,
    config: Value,
}

impl Image {
    /// An image called `name` that runs `binary`, a static one, since there is nothing else in it. It runs as nobody.
    pub fn of_binary(name: &str, binary: &Path) -> anyhow::Result<Self> {
        let file = binary
            .file_name()
            .and_then(|file| file.to_str())
            .with_context(|| format!("{} is no file", binary.display()))?;
        Ok(Self {
            name: name.to_owned(),
            files: vec![(file.to_owned(), binary.to_owned(), 0o755)],
            config: json!({"Entrypoint": [format!("/{file}")], "User": "65532:65532", "WorkingDir": "/"}),
        })
    }

    /// With another file, readable for all.
    #[must_use]
    pub fn file(mut self, path: &str, from: &Path) -> Self {
        let path = path.trim_start_matches('/').to_owned();
        self.files.push((path, from.to_owned(), 0o644));
        self
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.config["Labels"][name] = json!(value);
        self
    }

    /// Writes it as an OCI archive, which `ctr images import` and `docker load` take, and returns its digest.
    pub fn write(&self, archive: &Path) -> anyhow::Result<String> {
        let layer = Blob::new(self.layer()?, LAYER);
        let config = Blob::json(
            &json!({
                "architecture": architecture(),
                "os": "linux",
                "config": self.config,
                "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
            }),
            CONFIG,
        )?;
        let manifest = Blob::json(
            &json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config.descriptor(),
                "layers": [layer.descriptor()],
            }),
            MANIFEST,
        )?;
        let mut entry = manifest.descriptor();
        entry["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name,
        });
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        let file = File::create(archive)
            .with_context(|| format!("could not write {}", archive.display()))?;
        let mut tar = tar::Builder::new(file);
        add(
            &mut tar,
            "oci-layout",
            br#"{"imageLayoutVersion":"1.0.0"}"#,
            0o644,
        )?;
        add(&mut tar, "index.json", &serde_json::to_vec(&index)?, 0o644)?;
        for blob in [&layer, &config, &manifest] {
            let name = blob.digest.replace(':', "/");
            add(&mut tar, &format!("blobs/{name}"), &blob.bytes, 0o644)?;
        }
        tar.into_inner()?.sync_all()?;
        Ok(manifest.digest)
    }

    fn layer(&self) -> anyhow::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, from, mode) in &self.files {
            let bytes = std::fs::read(from)
                .with_context(|| format!("could not read {}", from.display()))?;
            add(&mut tar, path, &bytes, *mode)?;
        }
        Ok(tar.into_inner()?)
    }
}

/// Writes the application's image into `folder`. Builds the program first if need be, so this blocks.
pub fn app(folder: &Path) -> anyhow::Result<PathBuf> {
    of_tool(Tool::App, APP, folder)
}

/// The same for CoreDNS.
pub fn coredns(folder: &Path) -> anyhow::Result<PathBuf> {
    of_tool(Tool::Coredns, COREDNS, folder)
}

/// The same for the image that holds a pod's namespaces.
pub fn pause(folder: &Path) -> anyhow::Result<PathBuf> {
    of_tool(Tool::Pause, PAUSE, folder)
}

fn of_tool(tool: Tool, name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    tools::ensure(&[tool], &tools::Stderr)?;
    let archive = folder.join(format!("{}.tar", tool.binary()));
    Image::of_binary(name, &tool.path()?)?.write(&archive)?;
    Ok(archive)
}

/// What the layout calls a blob: content, type, and the digest that is its name.
struct Blob {
    bytes: Vec<u8>,
    kind: &'static str,
    digest: String,
}

impl Blob {
    fn new(bytes: Vec<u8>, kind: &'static str) -> Self {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        Self {
            bytes,
            kind,
            digest,
        }
    }

    fn json(value: &Value, kind: &'static str) -> anyhow::Result<Self> {
        Ok(Self::new(serde_json::to_vec(value)?, kind))
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.kind, "digest": self.digest, "size": self.bytes.len()})
    }
}

fn add<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    bytes: &[u8],
    mode: u32,
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    tar.append_data(&mut header, path, bytes)
        .with_context(|| format!("could not add {path}"))
}

/// What OCI calls the processor that this runs on.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read as _;

    fn read(archive: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut tar = tar::Archive::new(File::open(archive).unwrap());
        let entries = tar.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn every_blob_is_named_by_its_digest_and_reached_from_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("tool");
        std::fs::write(&binary, "program").unwrap();
        let archive = folder.path().join("tool.tar");
        let image = Image::of_binary("example.test/tool:1", &binary)
            .unwrap()
            .label("org.opencontainers.image.version", "1");
        let digest = image.write(&archive).unwrap();
        let files = read(&archive);
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let bytes = &files[&format!("blobs/{}", digest.replace(':', "/"))];
            assert_eq!(
                digest,
                format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
            );
            assert_eq!(descriptor["size"], bytes.len());
            bytes.clone()
        };
        let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let index = parse(&files["index.json"]);
        assert_eq!(index["manifests"][0]["digest"], digest);
        let manifest = parse(&blob(&index["manifests"][0]));
        let config = parse(&blob(&manifest["config"]));
        let layer = blob(&manifest["layers"][0]);
        assert_eq!(config["config"]["Entrypoint"], json!(["/tool"]));
        assert_eq!(
            config["config"]["Labels"]["org.opencontainers.image.version"],
            "1"
        );
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            manifest["layers"][0]["digest"]
        );
        let content = folder.path().join("layer.tar");
        std::fs::write(&content, layer).unwrap();
        assert_eq!(read(&content)["tool"], b"program");
    }

    #[test]
    fn the_same_files_give_the_same_digest() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("tool");
        std::fs::write(&binary, "program").unwrap();
        let write = |name: &str| {
            let image = Image::of_binary("example.test/tool:1", &binary).unwrap();
            image.write(&folder.path().join(name)).unwrap()
        };
        let one = write("one.tar");
        assert_eq!(one, write("two.tar"));
        std::fs::write(&binary, "another").unwrap();
        assert_ne!(one, write("three.tar"));
    }
}
