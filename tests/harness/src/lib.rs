//! What the tests share: private servers, real clients, conditions to await.
