mod elementwise;
mod linear;
mod lstm;
mod products;
