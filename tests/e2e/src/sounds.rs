//! The sounds that callers should hear, from where the PBX and the simulator have them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use voxtra_test_support::asterisk::Tree;
use voxtra_test_support::files::workspace_dir;
use voxtra_test_support::g711::ulaw_decode;
use voxtra_test_support::signals::read_wav;

/// A sound of Asterisk's own, such as `hello-world` or `digits/1`, as 8 kHz samples.
///
/// # Errors
/// When there is no such file.
pub fn recorded(tree: &Tree, name: &str) -> Result<Vec<i16>> {
    let sounds = tree.share().join("sounds");
    let folders = fs::read_dir(&sounds).with_context(|| format!("cannot read {}", sounds.display()))?;
    let file = folders
        .filter_map(Result::ok)
        .filter(|folder| folder.file_name().to_string_lossy().starts_with("en"))
        .map(|folder| folder.path().join(format!("{name}.wav")))
        .find(|path| path.is_file());
    read_wav(&file.with_context(|| format!("Asterisk has no English sound {name}"))?)
}

/// A prompt that the host ships for its simulator.
///
/// # Errors
/// When there is none, or it is no mu-law WAV of 8 kHz.
pub fn shipped(name: &str) -> Result<Vec<i16>> {
    read_ulaw_wav(&prompt_file(name))
}

fn prompt_file(name: &str) -> PathBuf {
    workspace_dir().join("host/telephony/prompts").join(format!("{name}.wav"))
}

/// Format code 7 of RIFF WAVE: G.711 mu-law, one byte a sample.
fn read_ulaw_wav(path: &Path) -> Result<Vec<i16>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut chunks = bytes.get(12..).unwrap_or_default();
    let mut is_ulaw = false;
    while let Some((name, after)) = chunks.split_at_checked(4) {
        let Some((length, after)) = after.split_first_chunk::<4>() else { break };
        let length = u32::from_le_bytes(*length) as usize;
        let body = after.get(..length).unwrap_or(after);
        match name {
            // Code 7, one channel, 8,000 samples a second.
            b"fmt " => is_ulaw = body.starts_with(&[7, 0, 1, 0, 0x40, 0x1f, 0, 0]),
            b"data" => {
                ensure!(is_ulaw, "{} is not mu-law, mono, 8 kHz", path.display());
                return Ok(body.iter().map(|byte| ulaw_decode(*byte)).collect());
            }
            _ => {}
        }
        // Chunks have even lengths on disk.
        chunks = after.get(length + length % 2..).unwrap_or_default();
    }
    anyhow::bail!("{} is no WAV file", path.display())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_shipped_prompts_can_be_read() {
        let hello = shipped("hello-world").unwrap();
        assert!(hello.len() > 4_000 && voxtra_test_support::match_audio::rms(&hello) > 500.0);
        assert!(shipped("no-such-prompt").is_err());
    }
}
