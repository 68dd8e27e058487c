//! README's table of kernels, from real runs: `cargo xtask features` calls it.
//!
//! `feature_table [--write README.md] (guest|host PASSED TESTS DOCTOR.json)...` prints the table, and writes it where it belongs.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{fs, path::PathBuf, process::ExitCode};

use a11i_tests::feature_table::{Column, rewritten, table};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(mistake) => {
            eprintln!("feature_table: {mistake}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut readme = None;
    if arguments.first().is_some_and(|first| first == "--write") {
        readme = Some(PathBuf::from(arguments.get(1).ok_or("--write needs a file")?));
        arguments.drain(..2);
    }
    let columns = arguments.chunks(4).map(column).collect::<Result<Vec<_>, _>>()?;
    let table = table(&columns);
    print!("{table}");
    let Some(readme) = readme else { return Ok(()) };
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", readme.display());
    let text = fs::read_to_string(&readme).map_err(|error| told(&error))?;
    let text = rewritten(&text, &table).map_err(|mistake| told(&mistake))?;
    fs::write(&readme, text).map_err(|error| told(&error))
}

fn column(arguments: &[String]) -> Result<Column, String> {
    let [place, passed, tests, doctor] = arguments else { return Err(format!("not understood: {arguments:?}")) };
    let number = |text: &String| text.parse().map_err(|_| format!("{text} is no number"));
    let host = match place.as_str() {
        "host" => true,
        "guest" => false,
        other => return Err(format!("{other} is neither `host` nor `guest`")),
    };
    let text = fs::read_to_string(doctor).map_err(|error| format!("{doctor}: {error}"))?;
    let doctor = serde_json::from_str(&text).map_err(|error| format!("{doctor}: {error}"))?;
    Ok(Column { doctor, passed: number(passed)?, tests: number(tests)?, host })
}
