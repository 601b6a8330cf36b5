//! The components that a directory names.

use std::collections::BTreeMap;

use voxtra_artifacts::HandlerKey;
use voxtra_artifacts::oci::OciReference;
use voxtra_artifacts::settle::Content;
use voxtra_core::TenantId;
use voxtra_directory::{Canary, ContentHash, Directory, FileRef, Signatures, Source};
use voxtra_plugins::Kind;

use crate::fetch;
use crate::job::Refused;
use crate::snapshot::rule_name;

/// How a component's files look: what a change of means a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stamp {
    File(ContentHash, Option<ContentHash>),
    Registry(String, Option<ContentHash>),
}

/// A component that the directory names.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) tenant: TenantId,
    pub(crate) kind: Kind,
    pub(crate) source: Source,
    pub(crate) signature: Option<FileRef>,
    pub(crate) signatures: Signatures,
    /// How a new version is tried; `None`: it takes all calls at once.
    pub(crate) canary: Option<Canary>,
}

impl Wanted {
    pub(crate) fn stamp(&self) -> Stamp {
        let signature = self.signature.as_ref().map(|file| file.content);
        match &self.source {
            Source::File(file) => Stamp::File(file.content, signature),
            Source::Oci(reference) => Stamp::Registry(reference.clone(), signature),
        }
    }

    /// Its name for people.
    pub(crate) fn file(&self) -> String {
        match &self.source {
            Source::File(file) => file.path.display().to_string(),
            Source::Oci(reference) => reference.clone(),
        }
    }

    /// The same with whose it is, where the name does not say so.
    pub(crate) fn of(&self, key: &HandlerKey) -> String {
        match &self.source {
            Source::File(_) => self.file(),
            Source::Oci(reference) => format!("{}: {reference}", by_manifest(key)),
        }
    }

    /// What its signature's file is named after, for people.
    pub(crate) fn signed(&self, key: &HandlerKey) -> String {
        match (&self.signature, &self.source) {
            (Some(file), _) => file.path.with_extension("").display().to_string(),
            (None, Source::File(_)) => self.file(),
            (None, Source::Oci(_)) => format!("{}.wasm", key.handler()),
        }
    }

    /// What one in a registry is: a reference is what it names, so that nothing has to be fetched to know it.
    pub(crate) fn registry_content(&self) -> Content {
        let signature = self.signature.as_ref().map(|file| file.content.as_bytes().as_slice());
        Content::of(&[Some(self.file().as_bytes()), signature])
    }

    /// What is written down about where a version came from.
    pub(crate) fn origin(&self) -> String {
        match self.reference() {
            Ok(Some(reference)) => fetch::origin(&reference),
            Ok(None) | Err(_) => self.file(),
        }
    }

    /// Its place in a registry; `None`: it is a file.
    pub(crate) fn reference(&self) -> Result<Option<OciReference>, Refused> {
        match &self.source {
            Source::File(_) => Ok(None),
            Source::Oci(reference) => reference.parse().map(Some).map_err(|error| {
                let error: voxtra_artifacts::oci::ReferenceError = error;
                Refused::new(error.to_string())
            }),
        }
    }
}

/// A component that a manifest names: whose and which it is, and where that is said.
pub(crate) fn by_manifest(key: &HandlerKey) -> String {
    format!("{key} (its manifest {}.toml)", key.handler())
}

/// All components that a directory names, by the key that their versions are kept under.
pub(crate) fn wanted(directory: &Directory) -> BTreeMap<HandlerKey, Wanted> {
    let mut all = BTreeMap::new();
    for (tenant, plan) in &directory.tenants {
        let signatures = &plan.settings.signatures;
        let mut want = |kind, name: &str, source: Source, signature: &Option<FileRef>, canary: Option<Canary>| {
            // The directory's names are the store's.
            let Ok(key) = HandlerKey::new(tenant, &rule_name(kind, name).as_str().into()) else { return };
            let (tenant, signature, signatures) = (tenant.clone(), signature.clone(), signatures.clone());
            all.insert(key, Wanted { tenant, kind, source, signature, signatures, canary });
        };
        for handler in plan.handlers.values() {
            let (source, signature) = (handler.source.clone(), &handler.signature);
            want(Kind::Handler, handler.name.as_str(), source, signature, handler.canary);
        }
        for (kind, rules) in [(Kind::Router, &plan.routers), (Kind::Filter, &plan.filters)] {
            for rule in rules {
                want(kind, &rule.name, Source::File(rule.file.clone()), &rule.signature, None);
            }
        }
    }
    all
}
