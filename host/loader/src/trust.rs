//! What a tenant's signatures ask for now, of what runs already and of what is kept: a policy that is tightened reaches
//! both. The bytes are in the folder of versions, and with each version's record the signature that it carried.

use std::collections::BTreeMap;
use std::time::Instant;

use voxtra_artifacts::signature::{SignatureError, SignaturePolicy};
use voxtra_artifacts::store::{CanaryEnd, StoreError};
use voxtra_artifacts::{HandlerKey, Version, VersionPrefix};
use voxtra_directory::Signatures;

use crate::job::{Job, Refused, policy};
use crate::loader::Loader;
use crate::news::{News, Serving};
use crate::snapshot::Component;
use crate::wanted::Wanted;

impl Loader {
    /// A version that was good before, when its tenant's signatures still let it take calls.
    pub(crate) fn job_of_store(&self, key: &HandlerKey, wanted: &Wanted, version: Version) -> Result<Job, Refused> {
        let kept = |error| Refused::new(format!("{} cannot be gone back to: {error}", name(key, version)));
        let wasm = self.versions.component(version).map_err(kept)?;
        self.vouch(key, wanted, version, &wasm)?;
        let (kind, file) = (wanted.kind, name(key, version));
        let (signed, signatures) = (file.clone(), Signatures::default());
        Ok(Job { key: key.clone(), kind, file, wasm, signature: None, signed, signatures, _place: None })
    }

    /// Writes down the signature that a version has come with. One without leaves that which is known of these bytes.
    pub(crate) fn keep_signature(&self, key: &HandlerKey, version: Version, job: &Job) -> Result<(), StoreError> {
        job.signature.as_deref().map_or(Ok(()), |signature| self.versions.keep_signature(key, version, signature))
    }

    /// Judges again what takes calls where the tenant's signatures are others than before. What does not meet them takes no new
    /// ones; what was left out for their sake, and meets them now, does again. Files are read anew, for the same reason.
    pub(crate) fn judge_signatures_again(
        &mut self,
        now: Instant,
        before: &BTreeMap<HandlerKey, Signatures>,
        serving: &mut dyn Serving,
    ) {
        let is_other = |key: &HandlerKey, wanted: &Wanted| {
            before.get(key).is_some_and(|before| !asks_the_same(before, &wanted.signatures))
        };
        let others = self.wanted.iter().filter(|(key, wanted)| is_other(key, wanted));
        for (key, wanted) in others.map(|(key, wanted)| (key.clone(), wanted.clone())).collect::<Vec<_>>() {
            self.judge_trial(&key, &wanted, serving);
            match self.loaded.get(&key).map(|component| component.version().to_owned()) {
                Some(version) => self.judge_current(now, &key, &wanted, version, serving),
                None => self.let_in_again(&key),
            }
            self.settler.again(now, &key);
        }
    }

    fn judge_trial(&mut self, key: &HandlerKey, wanted: &Wanted, serving: &mut dyn Serving) {
        let Some(version) = self.on_trial(key).map(str::to_owned) else { return };
        if let Err(Refused { why, .. }) = self.vouch_for_running(key, wanted, &version)
            && let Some(version) = self.withdraw(key, &why, serving)
        {
            serving.news(News::Withdrawn { key: key.clone(), version, why });
        }
    }

    fn judge_current(
        &mut self,
        now: Instant,
        key: &HandlerKey,
        wanted: &Wanted,
        version: String,
        serving: &mut dyn Serving,
    ) {
        let Err(Refused { why, .. }) = self.vouch_for_running(key, wanted, &version) else { return };
        self.loaded.remove(key);
        serving.news(News::Barred { key: key.clone(), version, why });
        // A signed version beside it has nothing to be compared with any more.
        if let Some(trial) = self.on_trial(key).map(str::to_owned) {
            let why = "the version before does not meet the tenant's signatures any more";
            self.end_later(now, key, &trial, CanaryEnd::Promoted, why);
        }
    }

    pub(crate) fn let_in_again(&mut self, key: &HandlerKey) {
        let Some(last) = self.versions.current(key).ok().flatten() else { return };
        let of = key.clone();
        let then = move |loader: &mut Self, serving: &mut dyn Serving, ready: Result<Component, Refused>| match ready {
            // Its file was quicker.
            Ok(_) if loader.loaded.contains_key(&of) => {}
            Ok(component) => {
                let to = component.version().to_owned();
                loader.loaded.insert(of.clone(), component);
                serving.news(News::Swapped { key: of, from: None, to, signed_by: None });
                serving.serve(loader.snapshot());
            }
            Err(Refused { why, .. }) => serving.news(News::Refused { key: of, why }),
        };
        self.ask_later(key.clone(), last, Box::new(then));
    }

    /// By the first digits of the version. Who cannot be found in the folder of versions has nobody who vouches.
    pub(crate) fn vouch_for_running(&self, key: &HandlerKey, wanted: &Wanted, version: &str) -> Result<(), Refused> {
        if !wanted.signatures.required {
            return Ok(());
        }
        let unknown = |why: String| Refused::new(format!("version {version} of {key} cannot be checked: {why}"));
        let prefix: VersionPrefix = version.parse().map_err(|error| unknown(format!("{error}")))?;
        let version = self.versions.resolve(key, &prefix).map_err(|error| unknown(error.to_string()))?;
        let wasm = self.versions.component(version).map_err(|error| unknown(error.to_string()))?;
        self.vouch(key, wanted, version, &wasm)
    }

    /// By the signature that is kept, or by the one that lies in the directory now, when it is of these bytes: it is kept then.
    fn vouch(&self, key: &HandlerKey, wanted: &Wanted, version: Version, wasm: &[u8]) -> Result<(), Refused> {
        let name = name(key, version);
        let policy = policy(&wanted.signatures, &name)?;
        if policy == SignaturePolicy::Off {
            return Ok(());
        }
        let known = self.versions.get(key).ok().flatten();
        let kept = known.as_ref().and_then(|known| known.record.signature(version)).map(str::as_bytes);
        let Err(error) = policy.check(&name, wasm, kept) else { return Ok(()) };
        let beside = wanted.signature.as_ref().and_then(|file| file.read(&self.options.dir).ok());
        if let Some(signature) = beside.filter(|signature| policy.check(&name, wasm, Some(signature)).is_ok()) {
            // Where it cannot be written down, it is looked for beside the file the next time too.
            let _ = self.versions.keep_signature(key, version, &signature);
            return Ok(());
        }
        Err(Refused::new(match error {
            SignatureError::Unsigned { .. } => format!(
                "{name} is unsigned and takes no new calls: the tenant's components must be signed by now; put its signature \
                 beside its file in the plugin directory, or put a signed version there"
            ),
            error => format!("{error}; until then it takes no new calls"),
        }))
    }
}

/// Whether one and the same component would pass both.
pub(crate) fn asks_the_same(one: &Signatures, other: &Signatures) -> bool {
    let in_force = |signatures: &'_ Signatures| signatures.required.then(|| signatures.keys.clone());
    in_force(one) == in_force(other)
}

/// For people.
fn name(key: &HandlerKey, version: Version) -> String {
    format!("version {} of {}/{}", version.short(), key.tenant(), key.handler())
}
