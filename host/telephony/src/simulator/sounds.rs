//! What the simulated PBX can play: the shipped prompts, WAV files of the user's own directories, numbers and digits
//! put together from them, tones. Everything is in memory before a call starts, so a lookup reads no file and a name
//! from a handler reaches no path.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LINE_RATE_HZ;
use super::prompts::SHIPPED;
use super::stored::Stored;
use super::tones::tone;

/// The most files that the prompt directories may hold together, and how many bytes: 70 minutes at 8 kHz. More is
/// likely a wrong directory.
const MAX_FILES: usize = 5_000;
const MAX_TOTAL_BYTES: u64 = 64 << 20;

/// How deep the directories are looked through: Asterisk's own tree has two levels.
const MAX_DEPTH: usize = 4;

/// The longest text that `digits:` or `characters:` spells.
const MAX_SPELLED: usize = 64;

/// Prompts by name, at 8 kHz.
#[derive(Debug)]
pub(super) struct Sounds {
    by_name: HashMap<String, Result<Arc<[i16]>, String>>,
    /// What the PBX has recorded.
    stored: Arc<Stored>,
}

/// Prompt directories that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SoundsError {
    /// It cannot be listed.
    #[error("the prompt directory {path} cannot be read: {problem}; check that it exists and may be read")]
    Directory {
        /// Which.
        path: PathBuf,
        /// The system's words.
        problem: String,
    },
    /// There is too much in it.
    #[error(
        "the prompt directories hold more than {MAX_FILES} WAV files or {MAX_TOTAL_BYTES} bytes; found at {path}: \
         name a directory of prompts alone"
    )]
    TooMuch {
        /// Where the limit was reached.
        path: PathBuf,
    },
}

/// One entry of a list of things to play.
#[derive(Debug, Clone)]
pub(super) struct Sound {
    /// Played once, one after the other.
    pub(super) once: Vec<Arc<[i16]>>,
    /// Then played again and again until it is stopped.
    pub(super) again: Option<Arc<[i16]>>,
}

/// The names of the shipped prompts (without `sound:`), sorted, each with what it says.
pub fn shipped_prompts() -> Vec<(&'static str, &'static str)> {
    let mut names: Vec<_> = SHIPPED.iter().map(|(name, text, _)| (*name, *text)).collect();
    names.sort_unstable();
    names
}

impl Sounds {
    /// The shipped prompts alone.
    pub(super) fn shipped() -> Self {
        let entry = |(name, _, wav): &(&str, &str, &[u8])| ((*name).to_owned(), read_wav(wav).map(Arc::from));
        Self { by_name: SHIPPED.iter().map(entry).collect(), stored: Arc::default() }
    }

    /// The shipped prompts and every WAV file below these directories (blocking). A file goes before a shipped prompt
    /// of the same name, an earlier directory before a later one. A file that cannot be decoded is an error when it is
    /// played, not now.
    pub(super) fn with_directories(directories: &[PathBuf]) -> Result<Self, SoundsError> {
        let mut sounds = Self::shipped();
        let mut budget = Budget { files: MAX_FILES, bytes: MAX_TOTAL_BYTES };
        for directory in directories.iter().rev() {
            sounds.add_directory(directory, "", MAX_DEPTH, &mut budget)?;
        }
        Ok(sounds)
    }

    fn add_directory(
        &mut self,
        path: &Path,
        prefix: &str,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<(), SoundsError> {
        let fail = |e: std::io::Error| SoundsError::Directory { path: path.to_owned(), problem: e.to_string() };
        for entry in std::fs::read_dir(path).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            // What cannot be looked at (a dangling link, say) is no prompt.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            if metadata.is_dir() && depth > 1 {
                self.add_directory(&path, &format!("{prefix}{name}/"), depth - 1, budget)?;
            } else if let Some(stem) = name.strip_suffix(".wav").filter(|_| metadata.is_file()) {
                budget.take(metadata.len()).ok_or_else(|| SoundsError::TooMuch { path: path.clone() })?;
                self.by_name.insert(format!("{prefix}{stem}"), read_wav_file(&path).map(Arc::from));
            }
        }
        Ok(())
    }

    /// What an entry of a list of media means, or a sentence that names it and says what to do.
    pub(super) fn resolve(&self, media: &str) -> Result<Sound, String> {
        let (scheme, name) = media.split_once(':').unwrap_or(("", media));
        let once = match scheme {
            "sound" => vec![self.prompt(name)?],
            "digits" | "characters" => self.spelled(media, name)?,
            "number" => self.number(name)?,
            "recording" => vec![self.recording(name)?],
            "tone" => {
                let tone = tone(name)?;
                return Ok(Sound { once: vec![tone.once], again: tone.again });
            }
            _ => {
                return Err(format!(
                    "the simulator cannot play `{media}`; use `sound:NAME`, `digits:123`, `number:42`, \
                     `characters:12#`, `tone:NAME` or `recording:NAME`"
                ));
            }
        };
        Ok(Sound { once, again: None })
    }

    /// The samples of an entry, one round of it where it would repeat.
    pub(super) fn samples(&self, media: &str) -> Result<Vec<i16>, String> {
        let sound = self.resolve(media)?;
        Ok(sound.once.iter().chain(&sound.again).flat_map(|part| part.iter().copied()).collect())
    }

    /// What the PBX has recorded.
    pub(super) fn stored(&self) -> &Arc<Stored> {
        &self.stored
    }

    fn recording(&self, name: &str) -> Result<Arc<[i16]>, String> {
        let missing =
            || format!("there is no recording `recording:{}`; play one that was made and not deleted", shorten(name));
        self.stored.get(name).ok_or_else(missing)
    }

    fn prompt(&self, name: &str) -> Result<Arc<[i16]>, String> {
        // As Asterisk's own `silence/1` to `silence/10`, in seconds.
        let silence =
            name.strip_prefix("silence/").and_then(|s| s.parse::<usize>().ok()).filter(|s| (1..=10).contains(s));
        match (self.by_name.get(name), silence) {
            (Some(samples), _) => samples.clone(),
            (None, Some(seconds)) => Ok(vec![0; LINE_RATE_HZ as usize * seconds].into()),
            (None, None) => Err(format!(
                "there is no prompt `sound:{name}`; put {name}.wav into a prompt directory of the simulator, or play \
                 one of the shipped prompts such as `sound:hello-world`"
            )),
        }
    }

    fn spelled(&self, media: &str, text: &str) -> Result<Vec<Arc<[i16]>>, String> {
        if text.chars().count() > MAX_SPELLED {
            return Err(format!("`{}` has more than {MAX_SPELLED} characters; play it in parts", shorten(media)));
        }
        text.chars().map(|c| self.prompt(&character_prompt(c)).map_err(|why| format!("`{media}`: {why}"))).collect()
    }

    fn number(&self, text: &str) -> Result<Vec<Arc<[i16]>>, String> {
        let number = text.parse::<i64>().ok().filter(|n| n.unsigned_abs() < 1_000_000);
        let number = number.ok_or_else(|| {
            format!(
                "`number:{}` is no whole number from -999999 to 999999; use `digits:` for longer ones",
                shorten(text)
            )
        })?;
        let mut names = Vec::new();
        if number < 0 {
            names.push("digits/minus".to_owned());
        }
        spell_number(number.unsigned_abs(), &mut names);
        names.iter().map(|name| self.prompt(name)).collect()
    }
}

/// The samples of a WAV file's bytes at the line's rate.
fn read_wav(wav: &[u8]) -> Result<Vec<i16>, String> {
    voxtra_audio::read_wav(wav, LINE_RATE_HZ).map_err(|e| e.to_string())
}

/// The samples of a WAV file at the line's rate (blocking), or a sentence that names it.
pub(super) fn read_wav_file(path: &Path) -> Result<Vec<i16>, String> {
    let unreadable = |e| format!("{} cannot be opened: {e}; check the file's name", path.display());
    // Before it is opened: a pipe would be waited for.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(format!("{} is no regular file; name a WAV file", path.display()));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    voxtra_audio::read_wav(file, LINE_RATE_HZ).map_err(|e| format!("{}: {e}", path.display()))
}

/// Two tracks of one length as a stereo WAV file.
pub(super) fn stereo_wav(left: &[i16], right: &[i16]) -> Vec<u8> {
    let both: Vec<i16> = left.iter().zip(right).flat_map(|(l, r)| [*l, *r]).collect();
    let mut wav = Vec::with_capacity(both.len() * 2 + 64);
    // Writing to memory fails only for what is over 4 GB: longer than a call may last.
    let _ = voxtra_audio::wav::write_wav(&mut wav, LINE_RATE_HZ, 2, &both);
    wav
}

struct Budget {
    files: usize,
    bytes: u64,
}

impl Budget {
    fn take(&mut self, bytes: u64) -> Option<()> {
        self.files = self.files.checked_sub(1)?;
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(())
    }
}

/// Where Asterisk's English sounds keep a character.
fn character_prompt(character: char) -> String {
    match character {
        '*' => "digits/star".to_owned(),
        '#' => "digits/pound".to_owned(),
        '-' => "digits/minus".to_owned(),
        c if c.is_ascii_digit() => format!("digits/{c}"),
        c => format!("letters/{}", c.to_lowercase()),
    }
}

/// English: 123,045 is "one hundred twenty three thousand forty five".
fn spell_number(number: u64, names: &mut Vec<String>) {
    match number {
        0..=20 => names.push(format!("digits/{number}")),
        21..=99 => {
            names.push(format!("digits/{}", number / 10 * 10));
            spell_rest(number % 10, names);
        }
        100..=999 => {
            names.extend([format!("digits/{}", number / 100), "digits/hundred".to_owned()]);
            spell_rest(number % 100, names);
        }
        _ => {
            spell_number(number / 1000, names);
            names.push("digits/thousand".to_owned());
            spell_rest(number % 1000, names);
        }
    }
}

fn spell_rest(rest: u64, names: &mut Vec<String>) {
    if rest > 0 {
        spell_number(rest, names);
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_SPELLED).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(number: u64) -> String {
        let mut names = Vec::new();
        spell_number(number, &mut names);
        names.join(" ").replace("digits/", "")
    }

    #[test]
    fn every_shipped_prompt_can_be_played_and_says_something() {
        let sounds = Sounds::shipped();
        for (name, text) in shipped_prompts() {
            let samples = sounds.samples(&format!("sound:{name}")).unwrap();
            let peak = samples.iter().map(|s| s.unsigned_abs()).max();
            assert!(samples.len() > 1_000 && peak > Some(3_000) && !text.is_empty(), "{name}: {peak:?}");
        }
    }

    #[test]
    fn numbers_are_spoken_in_english() {
        assert_eq!(names(0), "0");
        assert_eq!(names(42), "40 2");
        assert_eq!(names(20), "20");
        assert_eq!(names(100), "1 hundred");
        assert_eq!(names(515), "5 hundred 15");
        assert_eq!(names(123_045), "1 hundred 20 3 thousand 40 5");
    }

    #[test]
    fn every_number_can_be_played() {
        let sounds = Sounds::shipped();
        for number in (-999_999..=999_999).step_by(997).chain(0..=999) {
            assert!(sounds.resolve(&format!("number:{number}")).is_ok(), "{number}");
        }
    }

    #[test]
    fn digits_are_spoken_one_by_one() {
        let sounds = Sounds::shipped();
        let one_star =
            [sounds.samples("sound:digits/1").unwrap(), sounds.samples("sound:digits/star").unwrap()].concat();
        assert_eq!(sounds.samples("digits:1*").unwrap(), one_star);
    }

    #[test]
    fn silence_has_the_length_of_its_name() {
        assert_eq!(Sounds::shipped().samples("sound:silence/3").unwrap(), vec![0; 24_000]);
    }

    #[test]
    fn what_cannot_be_played_is_named_with_what_to_do() {
        let sounds = Sounds::shipped();
        let cases = [
            ("sound:nothing", "no prompt `sound:nothing`; put nothing.wav into a prompt directory"),
            ("sound:../../etc/passwd", "no prompt"),
            ("sound:silence/11", "no prompt"),
            ("recording:x", "there is no recording `recording:x`"),
            ("channel:x", "cannot play `channel:x`; use `sound:NAME`"),
            ("hello-world", "cannot play `hello-world`"),
            ("number:12e9", "is no whole number"),
            ("number:1000000", "use `digits:`"),
            ("number:-9223372036854775808", "is no whole number"),
            ("digits:1x", "`digits:1x`: there is no prompt `sound:letters/x`"),
            ("tone:ding", "there is no tone `ding`"),
        ];
        for (media, wanted) in cases {
            let error = sounds.resolve(media).unwrap_err();
            assert!(error.contains(wanted), "{media}: {error}");
        }
    }

    #[test]
    fn a_file_of_the_user_goes_before_a_shipped_prompt() {
        let directory = std::env::temp_dir().join(format!("voxtra-sounds-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("acme")).unwrap();
        std::fs::write(directory.join("goodbye.wav"), stereo_wav(&[7; 80], &[7; 80])).unwrap();
        std::fs::write(directory.join("acme/menu.wav"), stereo_wav(&[9; 40], &[9; 40])).unwrap();
        std::fs::write(directory.join("broken.wav"), b"RIFF").unwrap();
        let sounds = Sounds::with_directories(std::slice::from_ref(&directory));
        std::fs::remove_dir_all(&directory).unwrap();
        let sounds = sounds.unwrap();
        assert_eq!(sounds.samples("sound:goodbye").unwrap(), vec![7; 80]);
        assert_eq!(sounds.samples("sound:acme/menu").unwrap(), vec![9; 40]);
        assert!(sounds.samples("sound:hello-world").is_ok());
        assert!(sounds.samples("sound:broken").unwrap_err().contains("broken.wav"));
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = Sounds::with_directories(&["/nonexistent/prompts".into()]).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/prompts") && error.contains("check that it exists"), "{error}");
    }

    proptest! {
        #[test]
        fn no_media_makes_it_panic(media in "(sound|digits|number|tone|characters|recording)?:?\\PC{0,30}") {
            let _ = Sounds { by_name: HashMap::new(), stored: Arc::default() }.resolve(&media);
        }
    }
}
