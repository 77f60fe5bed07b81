//! A request becomes an environment.

use std::borrow::Cow;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use pip_accel_schema::environment::{
    ENVIRONMENT_MANIFEST_FILE, ENVIRONMENT_MANIFEST_FORMAT, EnvironmentManifest, EnvironmentPackage, LinkMode,
};
use pip_accel_schema::generation::{GENERATIONS_FILE, Generations};
use pip_accel_schema::manifest::EntryPath;
use pip_accel_schema::name::PackageName;
use pip_accel_store::checkpoint;

use crate::cancel::CancelToken;

use super::activation::Values;
use super::check::{inspect, read_manifest};
use super::error::EnvironmentError;
use super::foreign;
use super::generations::stage_generations;
use super::merge::{LinkTree, MergeInput, Merger, Own, Places};
use super::objects::ObjectDirectories;
use super::place::{Occupant, Place, Staging};
use super::private::Previous;
use super::remove::remove_tree;
use super::request::{EnvironmentRequest, PackageTree, Realized, Replace};
use super::script;
use super::skeleton::{Skeleton, add_links_hook, headers_folder, skeleton, utf8};
use super::take_over::{self, Replaced};
use super::write::{Context, Written, create_file, write_tree};

/// Files of the environment that no package may have, and that are written when all else is there.
const WRITTEN_LAST: [&str; 2] = [GENERATIONS_FILE, ENVIRONMENT_MANIFEST_FILE];

/// Makes the environment of `request`: complete beside the destination, then swapped in.
///
/// # Errors
/// See [`EnvironmentError`]. Whatever stood at the destination before still stands there.
pub fn realize_environment(request: &EnvironmentRequest<'_>) -> Result<Realized, EnvironmentError> {
    let packages = sorted_packages(request)?;
    let place = Place::find(request.destination)?;
    let result = realize_at(request, &packages, &place);
    if result.is_err() {
        place.abandon();
    }
    result
}

/// Whether an environment could be put at `destination`, as far as that can be told before it is made. Changes nothing.
///
/// # Errors
/// What [`realize_environment`] would refuse for what stands there.
pub fn check_place(destination: &Path, replace: Replace) -> Result<(), EnvironmentError> {
    Place::check(destination, replace)
}

fn realize_at(
    request: &EnvironmentRequest<'_>,
    packages: &[PackageTree<'_>],
    place: &Place,
) -> Result<Realized, EnvironmentError> {
    let occupant = place.occupant(request.replace)?;
    place.refuse_mounts(&occupant)?;
    let destination = utf8(request.scripts_prefix.unwrap_or(request.destination))?.trim_end_matches('/');
    let skeleton = own_files(request, destination, &occupant)?;
    let inputs: Vec<MergeInput<'_>> = packages.iter().map(merge_input).collect();
    let directories = ObjectDirectories(packages.iter().map(|package| package.directory).collect());
    let headers = headers_folder(request.python);
    let places = Places {
        site_packages: &request.python.site_packages,
        headers: &headers,
        real_folders: request.link_mode != LinkMode::Symlink,
    };
    let mut merger = Merger::new(places, &inputs);
    own(&mut merger, &skeleton);
    let LinkTree { mut root, clashes, refused } = merger.merge(&directories)?;
    // Reserved above, written last: its presence says that the environment is complete.
    WRITTEN_LAST.iter().for_each(|name| drop(root.remove(*name)));

    let staging = place.stage()?;
    let previous = private_copies(request, packages, &occupant)?;
    let shebang = script::shebang(&format!("{destination}/bin/python"));
    let link_prefixes = packages.iter().map(|package| utf8(package.link_prefix)).collect::<Result<Vec<_>, _>>()?;
    let context = Context {
        packages,
        directories: &directories,
        link_prefixes,
        mode: request.link_mode,
        shebang: &shebang,
        site_packages: &request.python.site_packages,
        lists_files: request.scripts_prefix.is_some(),
        link_farm: request.link_farm,
        store_root: request.store_root,
        previous: previous.as_ref(),
        cancel: request.cancel,
    };
    checkpoint("environment-staged");
    let Written { entries, files } = write_tree(&context, &root, staging.directory(), staging.path())?;
    let mut manifest = new_manifest(request, packages)?;
    if request.scripts_prefix.is_none() {
        manifest.place = place.resolved()?.to_str().unwrap_or_default().to_owned();
    }
    manifest.taken_over = request.take_over.is_some() && matches!(occupant, Occupant::Environment { .. });
    manifest.clashes.clone_from(&clashes);
    manifest.entries = entries;
    manifest.entries.sort_unstable_by(|left, right| left.path.cmp(&right.path));
    write_manifest(&manifest, request.generations, &staging)?;

    let (foreign, mut foreign_lost) = foreign_entries(request, packages, &occupant, &staging)?;
    if let Some(previous) = &previous {
        let lost = previous.carry_rest(staging.directory(), &manifest.entries);
        foreign_lost.extend(lost.map_err(EnvironmentError::io("keep private files of", request.destination))?);
    }
    checkpoint("environment-written");
    // After this step there is no way back, and what is left to do is short.
    go_on(request.cancel)?;
    let replaced = matches!(occupant, Occupant::Environment { .. });
    let swapped = staging.install(occupant, request.replace)?;
    checkpoint("environment-swapped");
    let leftover = swapped.old.filter(|old| !is_removed(old));
    Ok(Realized { manifest, clashes, refused, foreign, foreign_lost, replaced, leftover, files })
}

/// What the environment has besides packages: made for it, or what the virtualenv has that it takes over.
fn own_files(
    request: &EnvironmentRequest<'_>,
    destination: &str,
    occupant: &Occupant,
) -> Result<Skeleton, EnvironmentError> {
    let name = destination.rsplit('/').next().unwrap_or_default();
    let prompt: String =
        request.prompt.as_deref().unwrap_or(name).chars().filter(|character| !character.is_control()).collect();
    let mut skeleton = skeleton(request.python, Values { directory: destination, prompt: &prompt })?;
    if let (Some(_), Occupant::Environment { directory, .. }) = (request.take_over, occupant) {
        take_over::inherit(&mut skeleton, directory.as_fd(), request.destination)?;
    }
    if request.link_mode == LinkMode::Symlink {
        add_links_hook(&mut skeleton, request.python);
    }
    Ok(skeleton)
}

/// What the environment needs itself, and what is written last: no package has a say at these places.
fn own<'a>(merger: &mut Merger<'a>, skeleton: &'a Skeleton) {
    for folder in &skeleton.directories {
        merger.own_directory(folder);
    }
    for (path, own) in &skeleton.files {
        merger.own(path, own.clone());
    }
    for name in WRITTEN_LAST {
        merger.own(name, Own::File { content: Cow::Borrowed(b""), executable: false });
    }
}

/// An error once the work is to stop.
pub(super) fn go_on(cancel: Option<&CancelToken>) -> Result<(), EnvironmentError> {
    if cancel.is_some_and(CancelToken::is_cancelled) { Err(EnvironmentError::Interrupted) } else { Ok(()) }
}

fn is_removed(old: &Path) -> bool {
    let result = remove_tree(old);
    if let Err(error) = &result {
        tracing::warn!(path = %old.display(), %error, "the old environment could not be removed");
    }
    result.is_ok()
}

fn merge_input<'a>(package: &PackageTree<'a>) -> MergeInput<'a> {
    let PackageTree { name, plan, link, detached, requested, direct_url, .. } = *package;
    MergeInput { name, plan, link, detached, requested, direct_url }
}

/// The packages by name, each checked.
fn sorted_packages<'a>(request: &EnvironmentRequest<'a>) -> Result<Vec<PackageTree<'a>>, EnvironmentError> {
    let mut packages = request.packages.to_vec();
    packages.sort_by(|left, right| left.name.cmp(right.name));
    if let Some(pair) = packages.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(EnvironmentError::Duplicate(pair[0].name.clone()));
    }
    packages.iter().try_for_each(check_plan)?;
    if !request.python.executable.is_absolute() || EntryPath::parse(&request.python.site_packages).is_err() {
        let reason = "its path or the path of its site-packages is not what it should be".to_owned();
        return Err(EnvironmentError::Interpreter { path: request.python.executable.clone(), reason });
    }
    Ok(packages)
}

/// Plans come from wheels, and wheels from anyone.
fn check_plan(package: &PackageTree<'_>) -> Result<(), EnvironmentError> {
    let refuse = |what, text: &str, reason| EnvironmentError::Plan {
        package: package.name.clone(),
        what,
        text: text.chars().take(100).collect(),
        reason,
    };
    let is_name =
        |text: &str| EntryPath::parse(text).is_ok() && !text.contains('/') && !text.contains(char::is_control);
    let plan = package.plan;
    if !is_name(&plan.dist_info) || !plan.dist_info.ends_with(".dist-info") {
        return Err(refuse("the metadata folder", &plan.dist_info, "is not the name of a `.dist-info` folder"));
    }
    let scripts = plan.data_scripts.iter().map(|script| &script.name);
    if let Some(name) = scripts.chain(plan.entry_points.iter().map(|entry| &entry.name)).find(|name| !is_name(name)) {
        return Err(refuse("the script name", name, "is not a file name"));
    }
    for entry in &plan.entry_points {
        for text in [&entry.module, &entry.attribute] {
            if !script::is_dotted_name(text) {
                return Err(refuse("the entry point", text, "is not a dotted name"));
            }
        }
    }
    Ok(())
}

fn new_manifest(
    request: &EnvironmentRequest<'_>,
    packages: &[PackageTree<'_>],
) -> Result<EnvironmentManifest, EnvironmentError> {
    let package = |package: &PackageTree<'_>| EnvironmentPackage {
        name: package.name.clone(),
        version: package.version.clone(),
        object: package.object,
        dist_info: package.plan.dist_info.clone(),
        link: package.link,
        detached: package.detached,
    };
    Ok(EnvironmentManifest {
        format: ENVIRONMENT_MANIFEST_FORMAT,
        request: request.request_digest,
        place: String::new(),
        store: utf8(request.store_root)?.to_owned(),
        python: utf8(&request.python.executable)?.to_owned(),
        python_version: request.python.full_version.clone(),
        link_mode: request.link_mode,
        packages: packages.iter().map(package).collect(),
        taken_over: false,
        clashes: Vec::new(),
        entries: Vec::new(),
    })
}

fn write_manifest(
    manifest: &EnvironmentManifest,
    generations: Option<&Generations>,
    staging: &Staging<'_>,
) -> Result<(), EnvironmentError> {
    if let Some(generations) = generations {
        stage_generations(generations, staging)?;
    }
    let path = staging.path().join(ENVIRONMENT_MANIFEST_FILE);
    let text =
        serde_json::to_vec(manifest).map_err(|source| EnvironmentError::Manifest { path: path.clone(), source })?;
    create_file(staging.directory(), ENVIRONMENT_MANIFEST_FILE, false)
        .and_then(|mut file| file.write_all(&text))
        .map_err(EnvironmentError::io("write", path))
}

/// The private copies of the old environment that the new one keeps; `None` when it keeps none.
fn private_copies(
    request: &EnvironmentRequest<'_>,
    packages: &[PackageTree<'_>],
    occupant: &Occupant,
) -> Result<Option<Previous>, EnvironmentError> {
    let Occupant::Environment { directory, ours: true, .. } = occupant else { return Ok(None) };
    if !packages.iter().any(|package| package.detached) {
        return Ok(None);
    }
    let Some(manifest) = read_manifest(request.destination)? else { return Ok(None) };
    let stays = |name: &PackageName| packages.iter().any(|package| package.detached && package.name == name);
    Previous::new(directory.as_fd(), &manifest.entries, stays)
        .map(Some)
        .map_err(EnvironmentError::io("read", request.destination))
}

/// The foreign entries of the old environment and, of those, the ones that were not kept though that was asked.
fn foreign_entries(
    request: &EnvironmentRequest<'_>,
    packages: &[PackageTree<'_>],
    occupant: &Occupant,
    staging: &Staging<'_>,
) -> Result<(Vec<String>, Vec<String>), EnvironmentError> {
    let Occupant::Environment { directory, ours, .. } = occupant else { return Ok(Default::default()) };
    let directory = directory.as_fd();
    let mut foreign = if *ours {
        match read_manifest(request.destination) {
            Ok(Some(manifest)) => {
                let status = inspect(directory, request.destination, &manifest.entries)?;
                [status.foreign, status.changed].concat()
            }
            // Without a manifest nobody can tell what is foreign: nothing is lost only if nothing is to be kept.
            Err(EnvironmentError::Manifest { .. }) if !request.keep_foreign => Vec::new(),
            Ok(None) => Vec::new(),
            Err(error) => return Err(error),
        }
    } else {
        foreign_in_virtualenv(directory, request)?
    };
    foreign.sort_unstable();
    if !request.keep_foreign {
        return Ok((foreign, Vec::new()));
    }
    let names: Vec<&PackageName> = packages.iter().map(|package| package.name).collect();
    let replaced = Replaced::new(request.take_over);
    let mut lost = Vec::new();
    for path in &foreign {
        if replaced.has(path) {
            continue;
        }
        let kept = !foreign::is_metadata_of(path, &names)
            && foreign::keep(directory, staging.directory(), path, &replaced)
                .map_err(EnvironmentError::io("keep", request.destination.join(path)))?;
        if !kept {
            lost.push(path.clone());
        }
    }
    if request.take_over.is_some() {
        // All that others have there stays without a word, and what was replaced was meant to be.
        lost.retain(|path| !foreign::is_standard(path) && !foreign::is_metadata_of(path, &names));
        foreign.clone_from(&lost);
    }
    Ok((foreign, lost))
}

fn foreign_in_virtualenv(
    directory: BorrowedFd<'_>,
    request: &EnvironmentRequest<'_>,
) -> Result<Vec<String>, EnvironmentError> {
    let entries = foreign::bare_virtualenv(&request.python.site_packages);
    let status = inspect(directory, request.destination, &entries)?;
    let counts = |path: &String| request.take_over.is_some() || !foreign::is_standard(path);
    Ok(status.foreign.into_iter().filter(counts).collect())
}
