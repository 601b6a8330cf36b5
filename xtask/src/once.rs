//! What is fetched or built once and kept in the cache.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use voxtra_test_support::files::lock;

/// Makes a folder under another name and moves it to its own when it is whole. `mark` is the name of a file that says
/// that it is.
pub(crate) fn made_once(home: &Path, mark: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if home.join(mark).exists() {
        return Ok(());
    }
    let _lock = lock(&with_ending(home, "lock"))?;
    if home.join(mark).exists() {
        return Ok(());
    }
    let began = Instant::now();
    let new = with_ending(home, "new");
    let _ = fs::remove_dir_all(&new);
    fs::create_dir_all(&new)?;
    make(&new)?;
    fs::write(new.join(mark), "")?;
    let _ = fs::remove_dir_all(home);
    fs::rename(&new, home)?;
    eprintln!("guests: the toolchain is ready after {} s", began.elapsed().as_secs());
    Ok(())
}

/// Not `with_extension`: the names hold versions, whose dots begin no extension.
fn with_ending(path: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}
