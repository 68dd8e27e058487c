//! Fixtures of the tests of `discovery`, `attach` and `owner`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// A directory of one test, removed when it ends.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("a11i-{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Compiles C to `output` with the system's compiler.
pub(crate) fn compile(dir: &TempDir, output: &str, source: &str, arguments: &[&str]) -> PathBuf {
    let input = dir.path().join(format!("{output}.c"));
    std::fs::write(&input, source).unwrap();
    let path = dir.path().join(output);
    let run = Command::new("cc").arg(&input).arg("-o").arg(&path).args(arguments).output().expect("these tests need a C compiler (cc)");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    path
}

/// A shared library that defines what OpenSSL 3.3 defines, as far as we look.
pub(crate) fn openssl_look_alike(dir: &TempDir) -> PathBuf {
    compile(
        dir,
        "libssl.so.3",
        "#define F(n) int n(void*a,void*b,int c){volatile int x=c; return x+__LINE__;}\n\
         F(SSL_read)\nF(SSL_write)\nF(SSL_read_ex)\nF(SSL_write_ex)\nF(SSL_write_ex2)\nF(SSL_read_early_data)\n\
         F(SSL_write_early_data)\nF(SSL_clear)\nF(SSL_free)\nF(SSL_shutdown)\nF(SSL_ctrl)\nF(OPENSSL_init_ssl)\nF(SSL_get1_peer_certificate)\n",
        &["-shared", "-fPIC", "-O1", "-Wl,--no-as-needed,-soname,libssl.so.3,--build-id=sha1"],
    )
}
