//! Options of the command line: `--name value` and `--flag`.

use std::str::FromStr;

/// The words after a command's name.
#[derive(Copy, Clone, Debug)]
pub struct Options<'a>(&'a [&'a str]);

impl<'a> Options<'a> {
    /// Of the words that follow a command's name.
    #[must_use]
    pub const fn new(words: &'a [&'a str]) -> Self {
        Self(words)
    }

    /// Refuses what is neither one of the flags nor one of the names with its value: a mistyped option that is
    /// passed over in silence measures something else than was asked for.
    ///
    /// # Errors
    ///
    /// Names the first word that is not known, or the option that lacks its value.
    pub fn check(&self, flags: &[&str], names: &[&str]) -> Result<(), String> {
        let mut words = self.0.iter();
        while let Some(word) = words.next() {
            if names.contains(word) {
                words.next().ok_or_else(|| format!("{word} needs a value"))?;
            } else if !flags.contains(word) {
                return Err(format!("unknown option {word}"));
            }
        }
        Ok(())
    }

    /// The words as somebody else would repeat them: where the results went, and that a run went on, is no part of it.
    #[must_use]
    pub fn command(&self, program: &str) -> String {
        let mut words = self.0.iter();
        let mut command = program.to_owned();
        while let Some(word) = words.next() {
            match *word {
                "--out" => drop(words.next()),
                "--go-on" => {}
                word if word.contains(' ') => command = format!("{command} \"{word}\""),
                word => command = format!("{command} {word}"),
            }
        }
        command
    }

    /// True when a flag is there.
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.0.contains(&flag)
    }

    /// The value of an option.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|word| *word == name)?;
        self.0.get(at + 1).copied()
    }

    /// The value of an option that is a number.
    ///
    /// # Errors
    ///
    /// Names the option whose value is none.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("{name} {text}: no such number"))
    }

    /// The words of a list `a,b,c`.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<Vec<&'a str>> {
        Some(self.text(name)?.split(',').collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn options_are_read_and_mistakes_are_refused() {
        let words = ["--quick", "--blocks", "9", "--arms", "direct,ours"];
        let options = Options::new(&words);
        assert_eq!(options.check(&["--quick"], &["--blocks", "--arms"]), Ok(()));
        assert!(options.has("--quick"));
        assert_eq!(options.number("--blocks"), Ok(Some(9)));
        assert_eq!(options.number::<u8>("--seconds"), Ok(None));
        assert_eq!(options.list("--arms"), Some(vec!["direct", "ours"]));
        assert_eq!(options.command("bench"), "bench --quick --blocks 9 --arms direct,ours");
        assert_eq!(Options::new(&["--out", "x", "--go-on", "--quick"]).command("bench"), "bench --quick");
        let one = Options::new(&["--only-loads", "64 at 0.7,8x1"]);
        assert_eq!(one.command("bench"), "bench --only-loads \"64 at 0.7,8x1\"");
        assert!(options.check(&[], &["--blocks", "--arms"]).is_err());
        assert!(Options::new(&["--blocks"]).check(&[], &["--blocks"]).is_err());
    }
}
