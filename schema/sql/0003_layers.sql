-- Objects may be layers: unpacked packages of the system. Only a check is widened, which changes no byte of any row;
-- making the table anew would fire the deletions of the tables that refer to it.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
    SET sql = replace(sql, '(kind IN (''source'', ''wheel'', ''build''))', '(kind IN (''source'', ''wheel'', ''build'', ''layer''))')
    WHERE type = 'table' AND name = 'object';
PRAGMA writable_schema = RESET;
