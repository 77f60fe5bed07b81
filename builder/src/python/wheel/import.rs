//! A wheel on its way into the store: unpack, compile, plan the links.

use std::path::Path;

use pip_accel_schema::link_plan::LinkPlan;
use pip_accel_schema::manifest::EntryPath;
use pip_accel_schema::wheel::WheelFileName;
use pip_accel_store::TreeWriter;

use super::{
    FileTrait, PathSet, TreeFile, UnpackOptions, UnpackedWheel, WheelError, WheelFault, WheelWarning, unpack_wheel,
};
use crate::python::bytecode::{BytecodePool, Compiled, SourceFile};
use crate::python::link_plan::{LinkFacts, compute, read_search_paths};
use crate::python::metadata::CoreMetadata;

/// How a wheel is imported.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportOptions<'a> {
    /// How strict unpacking is.
    pub unpack: UnpackOptions<'a>,
    /// Compiles its modules; `None` leaves them as they are.
    pub bytecode: Option<&'a BytecodePool>,
}

/// A wheel whose tree is ready to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedWheel {
    /// How environments link it.
    pub link_plan: LinkPlan,
    /// What is odd about it.
    pub warnings: Vec<WheelWarning>,
    /// Name, version and requirements.
    pub metadata: CoreMetadata,
    /// Files that hold one of [`UnpackOptions::foreign_paths`], sorted by path.
    pub foreign: Vec<(EntryPath, PathSet)>,
    /// Files in the tree, bytecode included.
    pub file_count: usize,
    /// Sum of the lengths of the wheel's own files in bytes.
    pub bytes: u64,
    /// Files of bytecode that were written.
    pub compiled_count: usize,
    /// Modules without bytecode: not Python, or not this Python.
    pub uncompiled_count: usize,
}

/// Unpacks the wheel `archive` into `tree`, compiles its modules and computes its link plan.
///
/// # Errors
/// As [`unpack_wheel`]; also when its modules can't be compiled at all. `tree` must be dropped then.
pub fn import_wheel(
    archive: &Path,
    file_name: &WheelFileName,
    tree: &TreeWriter,
    options: &ImportOptions<'_>,
) -> Result<ImportedWheel, WheelError> {
    let mut wheel = unpack_wheel(archive, file_name, tree, &options.unpack)?;
    finish(&mut wheel, tree, options)
        .map(|(link_plan, compiled)| ImportedWheel {
            link_plan,
            foreign: with_foreign_paths(&wheel.files),
            warnings: wheel.warnings,
            metadata: wheel.metadata,
            file_count: wheel.files.len(),
            bytes: wheel.bytes,
            compiled_count: compiled.written.len(),
            uncompiled_count: compiled.skipped.len(),
        })
        .map_err(|fault| WheelError { archive: archive.to_owned(), fault: Box::new(fault) })
}

fn with_foreign_paths(files: &[TreeFile]) -> Vec<(EntryPath, PathSet)> {
    let mut found: Vec<_> = files.iter().filter(|file| !file.foreign.is_empty()).collect();
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found.into_iter().map(|file| (file.path.clone(), file.foreign)).collect()
}

fn finish(
    wheel: &mut UnpackedWheel,
    tree: &TreeWriter,
    options: &ImportOptions<'_>,
) -> Result<(LinkPlan, Compiled), WheelFault> {
    let mut compiled = Compiled::default();
    if let Some(pool) = options.bytecode {
        let sources: Vec<SourceFile<'_>> =
            wheel.files.iter().map(|file| SourceFile { path: &file.path, size: file.size }).collect();
        compiled = pool.compile(tree.path(), &sources)?;
        tree.adopt(&compiled.written).map_err(|source| WheelFault::Store { path: wheel.dist_info.clone(), source })?;
        wheel.files.extend(compiled.written.iter().map(|path| TreeFile {
            path: path.clone(),
            size: 0,
            executable: false,
            file_trait: FileTrait::None,
            foreign: PathSet::default(),
        }));
    }
    let search_paths = read_search_paths(tree.path(), &wheel.files)
        .map_err(|(path, source)| WheelFault::File { path: path.to_string(), source })?;
    let link_plan = compute(&LinkFacts {
        files: &wheel.files,
        dist_info: &wheel.dist_info,
        entry_points: &wheel.entry_points,
        declared_namespaces: &wheel.declared_namespaces,
        search_paths: &search_paths,
    })?;
    Ok((link_plan, compiled))
}
