fn main() {
    let d = a11i_agent::cli::doctor::diagnose(a11i_agent::capture::loader::LoadSettings { ring_bytes: 1 << 25, call_limit: 8 << 20, only_watched: false, wake_bytes: 1 << 18 });
    println!("{}", d.text);
}
