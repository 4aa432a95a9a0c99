//! The words of a model, by number.

use crate::error::{Result, err};
use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

/// Distinct words numbered as they come, in one block of text: a word costs its bytes and a few
/// more, where a map of `String`s costs some sixty.
///
/// Only the model's own words are ever put in: a plain hash is enough.
#[derive(Default)]
pub(super) struct Vocabulary {
    text: String,
    /// Where each word ends in the text; it begins where the one before ends.
    ends: Vec<u32>,
    numbers: HashTable<u32>,
}

/// The word of a number that the vocabulary gave out.
fn word<'a>(text: &'a str, ends: &[u32], number: u32) -> &'a str {
    let number = number as usize;
    let start = number.checked_sub(1).map_or(0, |before| ends[before]);
    &text[start as usize..ends[number] as usize]
}

impl Vocabulary {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, key: &str) -> Option<u32> {
        let same = |&number: &u32| word(&self.text, &self.ends, number) == key;
        self.numbers.find(FxBuildHasher.hash_one(key), same).copied()
    }

    /// The number of `key`, which is put in if it is new.
    pub(super) fn number(&mut self, key: &str) -> Result<u32> {
        if let Some(number) = self.get(key) {
            return Ok(number);
        }
        let end = u32::try_from(self.text.len() + key.len())
            .map_err(|_| err!(LimitExceeded, "the words of a vocabulary take more than 4 GiB"))?;
        // There are fewer words than bytes, but for the empty one.
        let number = self.ends.len() as u32;
        self.text.push_str(key);
        self.ends.push(end);
        let (text, ends) = (&self.text, &self.ends);
        let hash = |&number: &u32| FxBuildHasher.hash_one(word(text, ends, number));
        self.numbers.insert_unique(FxBuildHasher.hash_one(key), number, hash);
        Ok(number)
    }

    /// Gives back what growing left over.
    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbered_as_they_come() {
        let mut words = Vocabulary::default();
        for (key, number) in [("b", 0), ("", 1), ("bb", 2), ("b", 0), ("ä", 3), ("", 1)] {
            assert_eq!(words.number(key).unwrap(), number);
        }
        words.shrink();
        assert_eq!(words.len(), 4);
        for (key, number) in [("b", 0), ("", 1), ("bb", 2), ("ä", 3)] {
            assert_eq!(words.get(key), Some(number));
        }
        assert_eq!(words.get("bä"), None);
    }

    #[test]
    fn many_words_are_found_again() {
        let mut words = Vocabulary::default();
        for i in 0..5000u32 {
            assert_eq!(words.number(&format!("w{i}")).unwrap(), i);
        }
        assert!((0..5000).all(|i| words.get(&format!("w{i}")) == Some(i)));
        assert_eq!(words.get("w5000"), None);
    }
}
