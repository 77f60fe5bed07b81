-- When the bytes of an object were last read and found right, in seconds since 1970; 0: never since they were written.
ALTER TABLE object ADD COLUMN verified_at INTEGER NOT NULL DEFAULT 0;
