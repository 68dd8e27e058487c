//! Machine code of one ELF file, read without running it.
//!
//! Takes a parsed [`Elf`](crate::discovery::elf::Elf); gives instructions, function starts, references and pointers for x86-64 and arm64
//! alike: the machine is a value, not the one this agent was built for. Everything is read in bounded windows, and whatever does not decode
//! is refused. Nothing here knows a library: the finders in `attach` do.

mod arm64;
mod image;
mod instruction;
#[cfg(test)]
pub(crate) mod testing;
mod walk;
mod x86_64;

pub use image::Image;
pub use instruction::{Indirect, Instruction, Instructions, Kind, Register, StackChange, decode};
pub use walk::{Function, Walk};

#[cfg(test)]
mod tests;
