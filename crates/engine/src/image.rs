//! What an image is called, whoever names it.

use std::fmt;

/// The registry that is meant where none is named.
const REGISTRY: &str = "docker.io";

/// An image's name in full: `nginx` and `index.docker.io/library/nginx:latest` are the same image.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageName {
    /// Registry and repository, as `docker.io/library/nginx`.
    pub repository: String,
    /// The tag; empty where a digest says which image it is.
    pub tag: String,
    /// The digest; empty where none is known.
    pub digest: String,
}

impl ImageName {
    /// Of a name as it stands in a pod template.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        let (name, digest) = name.split_once('@').unwrap_or((name, ""));
        // A colon in front of the last slash is that of a port.
        let tag_at = name.rfind(':').filter(|at| !name[*at..].contains('/'));
        let (repository, tag) = match tag_at {
            Some(at) => (&name[..at], &name[at + 1..]),
            None if digest.is_empty() => (name, "latest"),
            None => (name, ""),
        };
        Self {
            repository: in_full(repository),
            tag: tag.to_owned(),
            digest: digest.to_owned(),
        }
    }

    /// Of its parts, as a report names them.
    #[must_use]
    pub fn of(registry: &str, repository: &str, tag: &str, digest: &str) -> Self {
        let named = if registry.is_empty() {
            repository.to_owned()
        } else {
            format!("{registry}/{repository}")
        };
        Self {
            repository: in_full(&named),
            tag: tag.to_owned(),
            digest: digest.to_owned(),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if !self.tag.is_empty() {
            write!(f, ":{}", self.tag)?;
        }
        if !self.digest.is_empty() {
            write!(f, "@{}", self.digest)?;
        }
        Ok(())
    }
}

/// A repository with its registry.
fn in_full(repository: &str) -> String {
    let (registry, path) = match repository.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (REGISTRY, repository),
    };
    let registry = match registry {
        "index.docker.io" => REGISTRY,
        other => other,
    };
    if registry == REGISTRY && !path.contains('/') {
        format!("{registry}/library/{path}")
    } else {
        format!("{registry}/{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_one_name_however_it_is_written() {
        for name in [
            "nginx",
            "nginx:latest",
            "library/nginx",
            "docker.io/nginx",
            "docker.io/library/nginx:latest",
            "index.docker.io/library/nginx",
        ] {
            let found = ImageName::parse(name);
            assert_eq!(
                found.to_string(),
                "docker.io/library/nginx:latest",
                "{name}"
            );
            assert_eq!(
                found,
                ImageName::of("index.docker.io", "library/nginx", "latest", "")
            );
        }
    }

    #[test]
    fn a_port_is_no_tag_and_a_digest_needs_none() {
        let name = |text| ImageName::parse(text).to_string();
        assert_eq!(name("localhost/app"), "localhost/app:latest");
        assert_eq!(name("reg.example:5000/app"), "reg.example:5000/app:latest");
        assert_eq!(name("reg.example:5000/app:1"), "reg.example:5000/app:1");
        assert_eq!(
            name("reg.example/app@sha256:ab"),
            "reg.example/app@sha256:ab"
        );
        assert_eq!(
            name("team/app:1@sha256:ab"),
            "docker.io/team/app:1@sha256:ab"
        );
    }
}
