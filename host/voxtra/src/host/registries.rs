//! The registries that handlers may come from, as the configuration describes them.

use voxtra_artifacts::oci::{Credentials, OciOptions, Registry};
use voxtra_loader::LoaderError;

use crate::config::{self, Config, ConfigError};
use crate::files;

/// The most of a file of certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

const REGISTRIES: &[&str] = &["plugins", "registries"];

/// What may be fetched, and from where.
pub(crate) fn options(config: &Config) -> Result<OciOptions, ConfigError> {
    let plugins = &config.root.plugins;
    let registries = plugins.registries.iter().enumerate();
    Ok(OciOptions {
        registries: registries.map(|(index, registry)| one(config, index, registry)).collect::<Result<_, _>>()?,
        max_component_bytes: u64::from(plugins.max_component_mib) << 20,
        ..OciOptions::default()
    })
}

fn one(config: &Config, index: usize, written: &config::Registry) -> Result<Registry, ConfigError> {
    let index = index.to_string();
    let fail = |key: &str, why: String| Err(config.error_at(&[REGISTRIES, &[index.as_str(), key]].concat(), why));
    let (user, password, token) = (&written.user, &written.password.0, &written.token.0);
    let credentials = match (user.is_empty(), password.is_empty(), token.is_empty()) {
        (true, true, true) => Credentials::Anonymous,
        (true, true, false) => Credentials::Bearer(token.clone()),
        (false, _, true) => Credentials::Basic { user: user.clone(), password: password.clone() },
        (true, false, _) => return fail("password", "a password needs its `user`; write both".to_owned()),
        (false, _, false) => return fail("token", "a token and a user exclude each other; remove one".to_owned()),
    };
    let certificates = match written.certificates.as_str() {
        "" => Vec::new(),
        file => match files::read(&config.folder(file), MAX_FILE_BYTES).map(String::from_utf8) {
            Ok(Ok(pem)) => vec![pem],
            Ok(Err(_)) => return fail("certificates", format!("`{file}` holds no text; name a file in PEM")),
            Err(why) => return fail("certificates", format!("`{file}`: {why}")),
        },
    };
    Ok(Registry {
        insecure_http: written.insecure_http,
        credentials,
        extra_certificates_pem: certificates,
        ..Registry::new(&written.host)
    })
}

/// A registry that cannot be one is told with its place in the file.
pub(crate) fn named(config: &Config, error: LoaderError) -> anyhow::Error {
    match error {
        LoaderError::Registries(error) => config.error_at(REGISTRIES, error.to_string()).into(),
        other => other.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<OciOptions, ConfigError> {
        options(&Config::parse(text, Some(Path::new("voxtra.yaml")), &|_| None)?)
    }

    #[test]
    fn no_registry_is_asked_that_the_operator_does_not_name() {
        assert!(read("").unwrap().registries.is_empty());
        let text = "
plugins:
  max_component_mib: 8
  registries:
    - {host: ghcr.io, user: ann, password: secret}
    - {host: 'localhost:5000', insecure_http: true}
    - {host: registry.example, token: t0ken}
";
        let options = read(text).unwrap();
        assert_eq!(options.max_component_bytes, 8 << 20);
        let hosts: Vec<_> = options.registries.iter().map(|registry| registry.host.as_str()).collect();
        assert_eq!(hosts, ["ghcr.io", "localhost:5000", "registry.example"]);
        assert!(options.registries[1].insecure_http && !options.registries[0].insecure_http);
        assert_eq!(options.registries[2].credentials, Credentials::Bearer("t0ken".to_owned()));
    }

    #[test]
    fn credentials_that_contradict_each_other_are_refused_with_their_line() {
        for (text, key) in [
            ("plugins:\n  registries:\n    - host: a.b\n      password: x\n", "password"),
            ("plugins:\n  registries:\n    - host: a.b\n      user: u\n      token: x\n", "token"),
            ("plugins:\n  registries:\n    - host: a.b\n      certificates: /no/such/file\n", "certificates"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with("voxtra.yaml:") && error.contains(key), "{error}");
        }
    }
}
