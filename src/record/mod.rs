//! Record and replay of requests.
