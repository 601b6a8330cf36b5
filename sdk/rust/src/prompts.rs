//! What can be given as prompts.

/// One prompt or several, to be played one after the other.
///
/// A prompt is `sound:NAME`, `digits:123`, `number:42`, `tone:NAME` or what else the PBX can play. A text is one prompt;
/// arrays, slices and vectors of texts are as many.
pub trait IntoPrompts {
    /// The prompts in order.
    fn into_prompts(self) -> Vec<String>;
}

impl IntoPrompts for &str {
    fn into_prompts(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl IntoPrompts for String {
    fn into_prompts(self) -> Vec<String> {
        vec![self]
    }
}

impl IntoPrompts for &String {
    fn into_prompts(self) -> Vec<String> {
        vec![self.clone()]
    }
}

impl<S: Into<String>> IntoPrompts for Vec<S> {
    fn into_prompts(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<S: Into<String>, const N: usize> IntoPrompts for [S; N] {
    fn into_prompts(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<S: AsRef<str>> IntoPrompts for &[S] {
    fn into_prompts(self) -> Vec<String> {
        self.iter().map(|prompt| prompt.as_ref().to_owned()).collect()
    }
}

impl<S: AsRef<str>, const N: usize> IntoPrompts for &[S; N] {
    fn into_prompts(self) -> Vec<String> {
        self.as_slice().into_prompts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_is_one_prompt_and_a_list_is_as_many() {
        const MENU: [&str; 2] = ["sound:a", "digits:1"];
        let both = vec!["sound:a".to_owned(), "digits:1".to_owned()];
        assert_eq!("sound:a".into_prompts(), both[..1]);
        assert_eq!(format!("digits:{}", 1).into_prompts(), both[1..]);
        assert_eq!(MENU.into_prompts(), both);
        assert_eq!((&MENU).into_prompts(), both);
        assert_eq!(MENU.as_slice().into_prompts(), both);
        assert_eq!(both.clone().into_prompts(), both);
    }
}
