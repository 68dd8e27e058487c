//! Machine code of one ELF file, read without running it.
//!
//! Takes a parsed [`Elf`](crate::discovery::elf::Elf); gives instructions, function starts, references and pointers for x86-64 and arm64
//! alike: the machine is a value, not the one this agent was built for. Everything is read in bounded windows, and whatever does not decode
//! is refused. Nothing here knows a library: the finders in `attach` do.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "machines have thousands of instructions and registers: what is not named is like any other"
)]

mod arm64;
mod call_frame;
pub mod constants;
mod functions;
mod image;
mod instruction;
mod literals;
mod pointers;
mod references;
#[cfg(test)]
pub(crate) mod testing;
mod unwind;
mod walk;
mod x86_64;

pub use functions::Functions;
pub use image::Image;
pub use instruction::{Indirect, Instruction, Instructions, Kind, Register, Registers, StackChange, decode};
pub use literals::{Literal, literals};
pub use pointers::Pointers;
pub use references::{Reference, calls_to, references};
pub use walk::{Function, Incomplete, Walk, holds_loaded};

#[cfg(test)]
mod tests;
