//! Which packages of a program are Go's TLS: `crypto/tls`, and copies of it under other names (uTLS and its own forks), which programs use to
//! look like browsers. A copy is known by the method that only this code has, `(*Conn).clientHandshake`, beside `Write` and `Read`.

use std::collections::BTreeMap;

use super::pclntab::TableFunction;
use crate::discovery::evidence::GoRefusal;

/// What a function does with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    Write,
    Read,
    Close,
    CloseWrite,
    Handshake,
    /// Of uTLS's `UConn`, whose first member is the connection. What it does not override calls the connection's own.
    OuterWrite,
    OuterRead,
    OuterClose,
    OuterHandshake,
}

impl Method {
    pub(super) const fn moves_bytes(self) -> bool {
        matches!(self, Self::Write | Self::Read | Self::OuterWrite | Self::OuterRead)
    }
}

/// A name of the function table that ends as one of a connection's methods does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Name {
    /// In the table of names.
    pub(super) at: u64,
    pub(super) full: String,
    package: usize,
    pub(super) method: Method,
}

impl Name {
    pub(super) fn of(at: u64, full: &[u8]) -> Option<Self> {
        let full = str::from_utf8(full).ok()?;
        let (package, method) = METHODS.iter().find_map(|(suffix, method)| Some((full.strip_suffix(suffix)?.len(), *method)))?;
        (package > 0).then(|| Self { at, full: full.to_owned(), package, method })
    }

    fn package(&self) -> &str {
        self.full.get(..self.package).unwrap_or_default()
    }
}

/// A package and its functions, each with its name.
pub(super) struct Package<'a> {
    pub(super) path: &'a str,
    pub(super) functions: Vec<(&'a Name, TableFunction)>,
}

impl Package<'_> {
    /// Where the connection's own method begins that a method of the type around it may call.
    pub(super) fn inner(&self, method: Method) -> Option<u64> {
        let inner = match method {
            Method::OuterWrite => Method::Write,
            Method::OuterRead => Method::Read,
            Method::OuterClose => Method::Close,
            Method::Write | Method::Read | Method::Close | Method::CloseWrite | Method::Handshake | Method::OuterHandshake => return None,
        };
        self.functions.iter().find(|(name, _)| name.method == inner).map(|(_, function)| function.start)
    }

    pub(super) fn is_standard(&self) -> bool {
        self.path == STANDARD
    }

    fn has(&self, wanted: impl Fn(&Name) -> bool) -> bool {
        self.functions.iter().any(|(name, _)| wanted(name))
    }

    /// The linker leaves out what nobody calls.
    fn is_tls(&self) -> bool {
        let is_copy = self.is_standard() || self.has(|name| name.full.ends_with(ONLY_TLS));
        is_copy
            && self.has(|name| matches!(name.method, Method::Write | Method::OuterWrite))
            && self.has(|name| matches!(name.method, Method::Read | Method::OuterRead))
    }
}

/// Those that are TLS, the standard one first.
///
/// # Errors
/// When a name stands for two functions, or twice in the table.
pub(super) fn of<'a>(names: &'a [Name], functions: &[TableFunction]) -> Result<Vec<Package<'a>>, GoRefusal> {
    let mut by_path: BTreeMap<&str, Package<'a>> = BTreeMap::new();
    for function in functions {
        let Some(name) = names.iter().find(|name| name.at == function.name) else { continue };
        let path = name.package();
        let package = by_path.entry(path).or_insert(Package { path, functions: Vec::new() });
        if package.has(|other| other.full == name.full) {
            return Err(GoRefusal::Table);
        }
        package.functions.push((name, *function));
    }
    let mut packages: Vec<_> = by_path.into_values().filter(Package::is_tls).collect();
    packages.sort_by_key(|package| !package.is_standard());
    Ok(packages)
}

const STANDARD: &str = "crypto/tls";
/// What all names of interest have in them.
pub(super) const ANCHOR: &[u8] = b"Conn).";
const ONLY_TLS: &str = ".(*Conn).clientHandshake";
const METHODS: [(&str, Method); 10] = [
    (".(*Conn).Write", Method::Write),
    (".(*Conn).Read", Method::Read),
    (".(*Conn).Close", Method::Close),
    (".(*Conn).CloseWrite", Method::CloseWrite),
    (ONLY_TLS, Method::Handshake),
    (".(*Conn).serverHandshake", Method::Handshake),
    (".(*UConn).Write", Method::OuterWrite),
    (".(*UConn).Read", Method::OuterRead),
    (".(*UConn).Close", Method::OuterClose),
    (".(*UConn).clientHandshake", Method::OuterHandshake),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn program(names: &[&str]) -> (Vec<Name>, Vec<TableFunction>) {
        let wanted: Vec<Name> = (1..).zip(names).filter_map(|(at, name)| Name::of(at, name.as_bytes())).collect();
        let functions = (1_u64..).zip(names).map(|(at, _)| TableFunction { name: at, start: at * 64, end: at * 64 + 64 }).collect();
        (wanted, functions)
    }

    #[test]
    fn a_copy_of_crypto_tls_is_known_by_its_handshake_and_what_else_has_connections_is_none() {
        let (names, functions) = program(&[
            "example.org/fork/utls.(*Conn).Read",
            "example.org/fork/utls.(*UConn).Write",
            "example.org/fork/utls.(*Conn).clientHandshake",
            "example.org/fork/utls.(*UConn).clientHandshake",
            "example.org/fork/utls.(*UConn).Read",
            "crypto/tls.(*Conn).Write",
            "crypto/tls.(*Conn).Read",
            "github.com/gorilla/websocket.(*Conn).Write",
            "github.com/gorilla/websocket.(*Conn).Read",
            "github.com/gorilla/websocket.(*Conn).Close",
            ".(*Conn).Write",
        ]);
        let packages = of(&names, &functions).unwrap();
        let told: Vec<_> = packages.iter().map(|package| (package.path, package.functions.len())).collect();
        assert_eq!(told, [("crypto/tls", 2), ("example.org/fork/utls", 5)]);
        let methods: Vec<_> = packages[1].functions.iter().map(|(name, function)| (name.method, function.start)).collect();
        assert_eq!(
            methods,
            [
                (Method::Read, 64),
                (Method::OuterWrite, 128),
                (Method::Handshake, 192),
                (Method::OuterHandshake, 256),
                (Method::OuterRead, 320)
            ]
        );
        let inner = [Method::OuterRead, Method::OuterWrite, Method::Read].map(|method| packages[1].inner(method));
        assert_eq!(inner, [Some(64), None, None]);
    }

    #[test]
    fn a_copy_that_cannot_both_write_and_read_is_none() {
        let (names, functions) = program(&["a/utls.(*Conn).Read", "a/utls.(*Conn).clientHandshake", "a/utls.(*Conn).CloseWrite"]);
        assert!(of(&names, &functions).unwrap().is_empty());
    }

    #[test]
    fn a_name_of_two_functions_is_refused() {
        let (names, functions) = program(&["crypto/tls.(*Conn).Write", "crypto/tls.(*Conn).Read", "crypto/tls.(*Conn).Write"]);
        assert_eq!(of(&names, &functions).err(), Some(GoRefusal::Table));
    }
}
