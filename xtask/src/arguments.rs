//! The command line, taken apart piece by piece; what is left over at the end is a mistake.

use anyhow::{Result, bail};

/// Arguments not yet understood, and those behind `--`, which belong to another program.
pub(crate) struct Arguments {
    own: Vec<String>,
    passed_on: Vec<String>,
}

impl Arguments {
    pub(crate) fn new(all: impl Iterator<Item = String>) -> Self {
        let mut own: Vec<String> = all.collect();
        let passed_on = match own.iter().position(|argument| argument == "--") {
            Some(at) => own.split_off(at).into_iter().skip(1).collect(),
            None => Vec::new(),
        };
        Self { own, passed_on }
    }

    /// Takes the switch `name`; true when it was there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.own.len();
        self.own.retain(|argument| argument != name);
        self.own.len() < before
    }

    /// Takes `name VALUE` or `name=VALUE`.
    pub(crate) fn option(&mut self, name: &str) -> Result<Option<String>> {
        let prefix = format!("{name}=");
        if let Some(at) = self.own.iter().position(|argument| argument.starts_with(&prefix)) {
            return Ok(self.own.remove(at).strip_prefix(&prefix).map(str::to_owned));
        }
        let Some(at) = self.own.iter().position(|argument| argument == name) else { return Ok(None) };
        self.own.remove(at);
        if at >= self.own.len() {
            bail!("{name} needs a value");
        }
        Ok(Some(self.own.remove(at)))
    }

    /// Takes the first argument when it is not an option.
    pub(crate) fn positional(&mut self) -> Option<String> {
        match self.own.first() {
            Some(first) if !first.starts_with('-') => Some(self.own.remove(0)),
            _ => None,
        }
    }

    /// Takes everything before `--` as it stands.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::mem::take(&mut self.own)
    }

    /// What stands behind `--`; an argument not taken until now is an error.
    pub(crate) fn finish(self) -> Result<Vec<String>> {
        match self.own.first() {
            None => Ok(self.passed_on),
            Some(unknown) => bail!("`{unknown}` is not understood here (`cargo xtask --help`)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    fn arguments(text: &str) -> Arguments {
        Arguments::new(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_follows_two_dashes_belongs_to_the_other_program() {
        let mut given = arguments("--release -- --release x");
        assert!(given.flag("--release"));
        assert!(!given.flag("--release"));
        assert_eq!(given.finish().unwrap(), ["--release", "x"]);
    }

    #[test]
    fn an_option_has_its_value_behind_a_space_or_an_equals_sign() {
        assert_eq!(arguments("--arch aarch64").option("--arch").unwrap().as_deref(), Some("aarch64"));
        assert_eq!(arguments("--arch=aarch64").option("--arch").unwrap().as_deref(), Some("aarch64"));
        assert_eq!(arguments("").option("--arch").unwrap(), None);
        assert!(arguments("--arch").option("--arch").is_err());
    }

    #[test]
    fn what_nobody_took_is_an_error() {
        assert!(arguments("--relase").finish().unwrap_err().to_string().contains("--relase"));
    }
}
