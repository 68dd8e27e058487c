//! Counted calls → priced calls: the provider's own cost, else list prices from a dated book, else nothing.
