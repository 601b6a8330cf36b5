//! What a component could do, as its imports and exports say. Nothing of it is compiled or run, so that any file may be
//! looked at.

use std::collections::BTreeMap;
use std::path::Path;

use wasmparser::component_types::ComponentEntityType;
use wasmparser::{Parser, Payload, ValidPayload, Validator};

use crate::cache::ContentHash;
use crate::imports::{self, Kind, Shape};
use crate::load::{LoadError, VERSION_DIGITS, check_preamble, read_capped, shown};
use crate::powers::{self, Power};

/// What is known of a component from its outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// How large its file is.
    pub size_bytes: usize,
    /// The SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// What calls and operators know it by: the first digits of that.
    pub version: String,
    /// What it is for; `None`: nothing that this host has a use for.
    pub kind: Option<Kind>,
    /// The versions of the contract that it names, such as `voxtra:call@0.1.0`; of a component that is well there is one.
    pub contract: Vec<String>,
    /// What it exports, without versions.
    pub exports: Vec<String>,
    /// The functions that it imports, by their interface with its version. A function of a resource is
    /// `[method]RESOURCE.NAME`.
    pub imports: BTreeMap<String, Vec<String>>,
    /// Why this host would not take it, in a sentence; `None`: nothing on its outside speaks against it.
    pub refused: Option<String>,
}

impl Inspection {
    /// Looks at a file of at most so many bytes.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or is no component.
    pub fn of_file(path: &Path, max_bytes: u64) -> Result<Self, LoadError> {
        let fail = |why| LoadError::new(path.display(), why);
        let wasm = read_capped(path, max_bytes).map_err(fail)?;
        Self::of_bytes(&wasm).map_err(fail)
    }

    /// Looks at a component's bytes. The error is a sentence.
    ///
    /// # Errors
    /// When they are no component.
    pub fn of_bytes(wasm: &[u8]) -> Result<Self, String> {
        check_preamble(wasm)?;
        let outside = Outside::read(wasm)
            .map_err(|error| format!("it is no valid component ({}); build it again", shown(error.message())))?;
        let sha256 = ContentHash::of(wasm).to_hex();
        let (shape, refused) = match outside.shape() {
            Ok(shape) => (Some(shape), None),
            Err(why) => (None, Some(why)),
        };
        let mut version = sha256.clone();
        version.truncate(VERSION_DIGITS);
        Ok(Self {
            size_bytes: wasm.len(),
            sha256,
            version,
            kind: shape.map(|shape| shape.kind).or_else(|| outside.kind()),
            contract: outside.contract(),
            exports: outside.exports.iter().map(|(name, _)| imports::split_version(name).0.to_owned()).collect(),
            imports: outside.imports.into_iter().filter(|(_, functions)| !functions.is_empty()).collect(),
            refused,
        })
    }

    /// What it could do, as far as its tenant may, with the functions for it.
    pub fn could(&self) -> Vec<(&'static Power, Vec<&str>)> {
        powers::ALL.iter().map(|power| (power, self.uses(power))).filter(|(_, uses)| !uses.is_empty()).collect()
    }

    /// What a component of its kind can do and this one could not.
    pub fn could_not(&self) -> Vec<&'static Power> {
        let Some(kind) = self.kind else { return Vec::new() };
        powers::ALL.iter().filter(|power| power.is_for(kind) && self.uses(power).is_empty()).collect()
    }

    fn uses(&self, power: &Power) -> Vec<&str> {
        let there = self.imports.iter().filter(|(interface, _)| power.is_in(imports::split_version(interface).0));
        there.flat_map(|(_, functions)| functions).map(String::as_str).filter(|name| power.needs(name)).collect()
    }
}

/// Names and what they stand for.
struct Outside {
    imports: Vec<(String, Vec<String>)>,
    /// Whether each is a function.
    exports: Vec<(String, bool)>,
}

impl Outside {
    fn read(wasm: &[u8]) -> Result<Self, wasmparser::BinaryReaderError> {
        let mut validator = Validator::new();
        let (mut imports, mut exports, mut depth, mut types) = (Vec::new(), Vec::new(), 0_usize, None);
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            match &payload {
                Payload::Version { .. } => depth = depth.saturating_add(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section.clone() {
                        imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section.clone() {
                        exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
            // Code is left to the compiler.
            if let ValidPayload::End(end) = validator.payload(&payload)? {
                depth = depth.saturating_sub(1);
                types = Some(end);
            }
        }
        // A name for a type reaches nothing.
        let is_type = |ty: &ComponentEntityType| matches!(ty, ComponentEntityType::Type { .. });
        let of_import = |name: String| {
            let types = types.as_ref()?;
            let functions = match types.component_item_for_import(&name)?.ty {
                ComponentEntityType::Instance(id) => {
                    let exports = types[id].exports.iter().filter(|(_, item)| !is_type(&item.ty));
                    exports.map(|(name, _)| name.clone()).collect()
                }
                ty if is_type(&ty) => return None,
                _ => vec![name.clone()],
            };
            Some((name, functions))
        };
        let is_function = |name: &str| {
            let item = types.as_ref().and_then(|types| types.component_item_for_export(name));
            item.is_some_and(|item| matches!(item.ty, ComponentEntityType::Func(_)))
        };
        Ok(Self {
            exports: exports.into_iter().map(|name: String| (name.clone(), is_function(&name))).collect(),
            imports: imports.into_iter().filter_map(of_import).collect(),
        })
    }

    /// What the runtime would make of it.
    fn shape(&self) -> Result<Shape, String> {
        imports::check_names(&self.imports, &self.exports)
    }

    fn kind(&self) -> Option<Kind> {
        imports::kind_of(&self.exports)
    }

    fn contract(&self) -> Vec<String> {
        let names = self.imports.iter().map(|(name, _)| name).chain(self.exports.iter().map(|(name, _)| name));
        let mut versions: Vec<_> = names.filter_map(|name| imports::contract_of(name)).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }
}
