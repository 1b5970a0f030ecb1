//! What happens to each table: how it begins, and what is done to it while rows come and go.

/// A table's fate.
pub(crate) struct Script {
    /// The table that is written to all the time.
    pub(crate) table: &'static str,
    /// Its columns beside `id INT` and `n INT`, and its key; `None` for the usual ones.
    pub(crate) definition: &'static str,
    /// Statements in order; `{t}` is the table.
    pub(crate) steps: &'static [&'static str],
}

const fn script(
    table: &'static str,
    definition: &'static str,
    steps: &'static [&'static str],
) -> Script {
    Script {
        table,
        definition,
        steps,
    }
}

/// `id` alone is the key.
const PLAIN: &str = "PRIMARY KEY (id)";

pub(crate) const SCRIPTS: &[Script] = &[
    script(
        "added",
        PLAIN,
        &[
            "ALTER TABLE {t} ADD COLUMN a INT",
            "ALTER TABLE {t} ADD COLUMN b VARCHAR(20) FIRST",
            "ALTER TABLE {t} ADD COLUMN c DATETIME(3) AFTER id",
            "UPDATE {t} SET a = n, b = CONCAT('b', n), c = '2024-02-29 01:02:03.004' WHERE id % 3 = 0",
            "ALTER TABLE {t} ADD COLUMN d JSON, ADD COLUMN e BLOB AFTER b, ADD (f INT, g BIT(3))",
            "UPDATE {t} SET d = '[1]', e = x'00', f = 1, g = 5 WHERE id % 3 = 1",
            "ALTER TABLE {t} MODIFY COLUMN a INT AFTER f",
            "ALTER TABLE {t} ADD COLUMN seen INT INVISIBLE, ALGORITHM=INSTANT",
        ],
    ),
    script(
        "defaulted",
        PLAIN,
        &[
            "ALTER TABLE {t} ADD COLUMN a INT NOT NULL DEFAULT 7",
            "ALTER TABLE {t} ADD COLUMN b VARCHAR(20) DEFAULT 'it''s \\\\ \"b\"'",
            "ALTER TABLE {t} ADD COLUMN c DECIMAL(10,2) NOT NULL",
            "ALTER TABLE {t} ADD COLUMN d DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)",
            "ALTER TABLE {t} ADD COLUMN e ENUM('x', 'y') NOT NULL DEFAULT 'y'",
            "ALTER TABLE {t} ADD COLUMN f BIT(4) NOT NULL DEFAULT b'101'",
            "ALTER TABLE {t} ADD COLUMN g TIMESTAMP(3) NULL DEFAULT '2024-01-01 00:00:00'",
            "ALTER TABLE {t} ADD COLUMN h BINARY(4) NOT NULL DEFAULT 'ab'",
            "ALTER TABLE {t} ADD COLUMN i TIME NOT NULL DEFAULT '-01:00:00', ADD COLUMN k YEAR DEFAULT 2024",
            "ALTER TABLE {t} ADD COLUMN l SET('p', 'q') DEFAULT 'q,p', ADD COLUMN m DOUBLE DEFAULT -0.5",
            "ALTER TABLE {t} ADD COLUMN o TEXT NOT NULL, ADD COLUMN p ENUM('first', 'second') NOT NULL",
        ],
    ),
    // Values that only the source can tell.
    script(
        "computed",
        PLAIN,
        &[
            "ALTER TABLE {t} ADD COLUMN a VARCHAR(40) DEFAULT (CONCAT('x', 1 + 1))",
            "ALTER TABLE {t} ADD COLUMN b JSON DEFAULT (JSON_OBJECT('a', 1))",
            "ALTER TABLE {t} ADD COLUMN g INT AS (n * 2) STORED",
            "ALTER TABLE {t} ADD COLUMN v VARCHAR(20) AS (CONCAT('#', id)) VIRTUAL",
            "ALTER TABLE {t} ADD COLUMN d DATE DEFAULT (CURRENT_DATE + INTERVAL 1 YEAR)",
        ],
    ),
    script(
        "dropped_columns",
        "a INT, b VARCHAR(20) DEFAULT 'b', c INT NOT NULL, PRIMARY KEY (id)",
        &[
            "ALTER TABLE {t} DROP COLUMN a",
            "ALTER TABLE {t} DROP COLUMN c, ADD COLUMN e INT DEFAULT 1",
            "ALTER TABLE {t} DROP COLUMN b",
            // The same name again, as something else.
            "ALTER TABLE {t} ADD COLUMN b DATE",
            "UPDATE {t} SET b = '2024-01-01' WHERE id % 2 = 0",
            "ALTER TABLE {t} DROP COLUMN b, ADD COLUMN b JSON",
        ],
    ),
    script(
        "renamed_columns",
        "a INT DEFAULT 1, b INT DEFAULT 2, c TEXT, d TEXT, PRIMARY KEY (id)",
        &[
            "UPDATE {t} SET c = CONCAT('c', id), d = CONCAT('d', id), a = id WHERE id % 2 = 0",
            "ALTER TABLE {t} RENAME COLUMN a TO `new a`",
            "ALTER TABLE {t} CHANGE b bb INT DEFAULT 2",
            "ALTER TABLE {t} CHANGE COLUMN `c` `d` TEXT, CHANGE COLUMN d c TEXT",
            "ALTER TABLE {t} RENAME COLUMN c TO d, RENAME COLUMN d TO c",
            "ALTER TABLE {t} RENAME COLUMN `new a` TO a, RENAME COLUMN bb TO B",
            // A new name and a new type at once.
            "ALTER TABLE {t} CHANGE a big BIGINT DEFAULT 9",
            "UPDATE {t} SET big = 5000000000 WHERE id % 5 = 0",
            "ALTER TABLE {t} RENAME COLUMN d TO e, ADD COLUMN d INT DEFAULT 4",
            "UPDATE {t} SET n = n + 1, d = id WHERE id % 3 = 0",
        ],
    ),
    script(
        "renamed_key",
        PLAIN,
        &[
            "ALTER TABLE {t} RENAME COLUMN id TO ident",
            "INSERT INTO {t} (ident, n) VALUES (9001, 1), (9002, 2)",
            "UPDATE {t} SET n = n + 1 WHERE ident % 2 = 0",
            "ALTER TABLE {t} CHANGE ident id BIGINT NOT NULL",
        ],
    ),
    script(
        "widened",
        "a TINYINT DEFAULT 1, b VARCHAR(10) DEFAULT 'b', c DECIMAL(5,2) DEFAULT 1.25, d DATE, \
         e INT UNSIGNED DEFAULT 3, f FLOAT DEFAULT 0.5, g ENUM('x', 'y') DEFAULT 'x', h CHAR(3), \
         i BINARY(2), PRIMARY KEY (id)",
        &[
            "UPDATE {t} SET d = '2024-02-29', h = 'h ', i = 'i' WHERE id % 2 = 0",
            "ALTER TABLE {t} MODIFY a INT DEFAULT 100000",
            "ALTER TABLE {t} MODIFY a BIGINT DEFAULT 10000000000",
            "ALTER TABLE {t} MODIFY b VARCHAR(200) DEFAULT 'a longer text than before'",
            "ALTER TABLE {t} MODIFY b TEXT",
            "UPDATE {t} SET b = REPEAT('b', 1000) WHERE id % 7 = 0",
            "ALTER TABLE {t} MODIFY c DECIMAL(20,4) DEFAULT 12345678.0001",
            "ALTER TABLE {t} MODIFY d DATETIME",
            "ALTER TABLE {t} MODIFY e BIGINT UNSIGNED DEFAULT 18446744073709551615",
            "ALTER TABLE {t} MODIFY f DOUBLE DEFAULT 0.1",
            "ALTER TABLE {t} MODIFY g ENUM('x', 'y', 'z') DEFAULT 'z'",
            "ALTER TABLE {t} MODIFY g ENUM('w', 'x', 'y', 'z') DEFAULT 'w'",
            "ALTER TABLE {t} MODIFY h VARCHAR(30), MODIFY i VARBINARY(30)",
            "UPDATE {t} SET d = '2024-01-01 10:11:12', h = 'with spaces   ' WHERE id % 3 = 0",
        ],
    ),
    script(
        "narrowed",
        "a BIGINT DEFAULT 1, b VARCHAR(100) DEFAULT 'b', c DECIMAL(10,4) DEFAULT 1.2345, \
         d DATETIME(6) DEFAULT '2024-01-01 00:00:00.654321', e INT DEFAULT 5, f DOUBLE DEFAULT 0.1, \
         g TEXT, h INT DEFAULT 1, PRIMARY KEY (id)",
        &[
            "UPDATE {t} SET g = CONCAT('g', id), c = id / 7 WHERE id % 2 = 0",
            "ALTER TABLE {t} MODIFY a SMALLINT DEFAULT 2",
            "ALTER TABLE {t} MODIFY b VARCHAR(10) DEFAULT 'c'",
            // Rounds, and only the source knows how.
            "ALTER TABLE {t} MODIFY c DECIMAL(10,1) DEFAULT 0",
            "ALTER TABLE {t} MODIFY d DATETIME(0) DEFAULT '2024-01-01 00:00:00'",
            "ALTER TABLE {t} MODIFY f FLOAT DEFAULT 0.1",
            "ALTER TABLE {t} MODIFY g VARCHAR(50)",
            // Into other kinds.
            "ALTER TABLE {t} MODIFY e VARCHAR(20) DEFAULT 'five'",
            "ALTER TABLE {t} MODIFY h INT UNSIGNED DEFAULT 1",
            "ALTER TABLE {t} MODIFY h DECIMAL(12,2) DEFAULT 1",
            "ALTER TABLE {t} MODIFY d DATE",
        ],
    ),
    script(
        "nullable",
        "a INT, b VARCHAR(20) NOT NULL DEFAULT 'b', PRIMARY KEY (id)",
        &[
            "UPDATE {t} SET a = 0 WHERE a IS NULL",
            "ALTER TABLE {t} MODIFY b VARCHAR(20) NULL",
            "UPDATE {t} SET b = NULL WHERE id % 2 = 0",
            "UPDATE {t} SET b = 'x' WHERE b IS NULL; ALTER TABLE {t} MODIFY b VARCHAR(20) NOT NULL DEFAULT 'c'",
            "UPDATE {t} SET a = 0 WHERE a IS NULL; ALTER TABLE {t} MODIFY a INT NOT NULL DEFAULT 1",
        ],
    ),
    script(
        "rekeyed",
        "a INT NOT NULL DEFAULT 1, PRIMARY KEY (id)",
        &[
            "ALTER TABLE {t} DROP PRIMARY KEY, ADD PRIMARY KEY (id, a)",
            "UPDATE {t} SET a = 2 WHERE id % 2 = 0",
            "INSERT IGNORE INTO {t} SELECT id, n, 3 FROM {t}",
            "ALTER TABLE {t} DROP PRIMARY KEY, ADD PRIMARY KEY (a, id)",
            "DELETE FROM {t} WHERE a = 3",
            "ALTER TABLE {t} DROP PRIMARY KEY, ADD COLUMN k BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY",
        ],
    ),
    script(
        "keyed_late",
        "KEY (id)",
        &[
            "DELETE FROM {t}; ALTER TABLE {t} ADD COLUMN k INT NOT NULL AUTO_INCREMENT PRIMARY KEY",
            "UPDATE {t} SET n = n + 1 WHERE k % 2 = 0",
            "ALTER TABLE {t} MODIFY k INT NOT NULL, DROP PRIMARY KEY",
        ],
    ),
    script(
        "emptied",
        PLAIN,
        &[
            "TRUNCATE TABLE {t}",
            "TRUNCATE {t}",
            "INSERT IGNORE INTO {t} (id, n) VALUES (9001, 1)",
            "TRUNCATE /* odd */ TABLE `{t}`",
            "DELETE FROM {t}",
            "INSERT IGNORE INTO {t} (id, n) VALUES (9002, 1)",
        ],
    ),
    script(
        "recreated",
        PLAIN,
        &[
            "DROP TABLE {t}",
            "CREATE TABLE {t} (id INT PRIMARY KEY, n BIGINT, extra VARCHAR(20) DEFAULT 'again')",
            "DROP TABLE IF EXISTS {t}, not_there",
            "CREATE TABLE {t} (id VARCHAR(20) PRIMARY KEY, n INT)",
            "DROP TABLE {t}; CREATE TABLE {t} (n INT, id INT, PRIMARY KEY (id))",
        ],
    ),
    script(
        "moved",
        PLAIN,
        &[
            "RENAME TABLE {t} TO moved_away",
            "INSERT INTO moved_away (id, n) VALUES (9001, 1)",
            "ALTER TABLE moved_away RENAME TO `{t}`",
            "CREATE TABLE moved_other (id INT PRIMARY KEY, n INT, other INT DEFAULT 3)",
            "INSERT INTO moved_other (id, n) SELECT id, n FROM {t}",
            // Two tables swap their names.
            "RENAME TABLE {t} TO moved_between, moved_other TO {t}, moved_between TO moved_other",
            "ALTER TABLE {t} RENAME moved_again, ADD COLUMN late INT DEFAULT 8",
            "ALTER TABLE moved_again RENAME AS {t}",
        ],
    ),
    // As gh-ost does it: a ghost is filled and takes the table's place.
    script(
        "ghosted",
        PLAIN,
        &[
            "CREATE TABLE `_ghosted_gho` LIKE `{t}`",
            "ALTER TABLE `_ghosted_gho` ADD COLUMN extra INT NOT NULL DEFAULT 5, MODIFY n BIGINT",
            "INSERT IGNORE INTO `_ghosted_gho` (id, n) SELECT id, n FROM {t} LOCK IN SHARE MODE",
            "REPLACE INTO `_ghosted_gho` (id, n) SELECT id, n FROM {t}",
            "RENAME TABLE {t} TO `_ghosted_del`, `_ghosted_gho` TO {t}",
            "DROP TABLE IF EXISTS `_ghosted_del`",
        ],
    ),
    // As pt-online-schema-change does it, with triggers.
    script(
        "triggered",
        PLAIN,
        &[
            "CREATE TABLE _triggered_new LIKE {t}",
            "ALTER TABLE _triggered_new ADD COLUMN extra VARCHAR(10) DEFAULT 'x'",
            "CREATE TRIGGER triggered_ins AFTER INSERT ON {t} FOR EACH ROW \
         REPLACE INTO _triggered_new (id, n) VALUES (NEW.id, NEW.n)",
            "CREATE TRIGGER triggered_upd AFTER UPDATE ON {t} FOR EACH ROW \
         REPLACE INTO _triggered_new (id, n) VALUES (NEW.id, NEW.n)",
            "CREATE TRIGGER triggered_del AFTER DELETE ON {t} FOR EACH ROW \
         DELETE IGNORE FROM _triggered_new WHERE id = OLD.id",
            "INSERT IGNORE INTO _triggered_new (id, n) SELECT id, n FROM {t}",
            "RENAME TABLE {t} TO _triggered_old, _triggered_new TO {t}",
            "DROP TABLE _triggered_old",
        ],
    ),
    script(
        "copied",
        PLAIN,
        &[
            "CREATE TABLE copied_like LIKE {t}",
            "INSERT INTO copied_like SELECT * FROM {t}",
            "CREATE TABLE copied_as AS SELECT id, n, id + 1 AS next, 'x' AS x FROM {t}",
            "CREATE TABLE copied_keyed (id INT PRIMARY KEY) SELECT id, n FROM {t}",
            "CREATE TABLE IF NOT EXISTS copied_like LIKE {t}",
            "CREATE TEMPORARY TABLE only_mine SELECT * FROM {t}; INSERT INTO only_mine VALUES (1, 1); \
         DROP TEMPORARY TABLE only_mine",
            "UPDATE copied_like SET n = n + 1; DELETE FROM copied_as WHERE id % 2 = 0",
            "CREATE TABLE copied_child (id INT PRIMARY KEY, parent INT, n INT, \
         FOREIGN KEY (parent) REFERENCES copied_keyed (id) ON DELETE SET NULL)",
            "INSERT INTO copied_child SELECT id, id, 1 FROM copied_keyed; DELETE FROM copied_keyed WHERE id % 3 = 0",
        ],
    ),
    script(
        "indexed",
        "a INT DEFAULT 1, b VARCHAR(50) DEFAULT 'b', PRIMARY KEY (id)",
        &[
            "ALTER TABLE {t} ADD INDEX (a), ADD FULLTEXT INDEX words (b)",
            "CREATE INDEX by_b ON {t} (b(10) DESC)",
            "ALTER TABLE {t} ADD CONSTRAINT positive CHECK (n > -1000000) NOT ENFORCED",
            "ALTER TABLE {t} RENAME INDEX by_b TO by_bb",
            "DROP INDEX by_bb ON {t}",
            "ALTER TABLE {t} ALTER COLUMN a SET DEFAULT 6",
            "ALTER TABLE {t} ALTER COLUMN a SET INVISIBLE",
            "ALTER TABLE {t} COMMENT = 'a comment; with ''quotes'' -- and such', AUTO_INCREMENT = 10",
            "ALTER TABLE {t} ENGINE = InnoDB, ALGORITHM=COPY, LOCK=SHARED",
            "ALTER TABLE {t} FORCE",
            "OPTIMIZE TABLE {t}",
            "ANALYZE TABLE {t}",
            "ALTER TABLE {t} CONVERT TO CHARACTER SET latin1",
            "UPDATE {t} SET b = 'é€' WHERE id % 2 = 0",
            "ALTER TABLE {t} ADD COLUMN u INT AS (id * 2) VIRTUAL, ADD UNIQUE KEY (u)",
            "ALTER TABLE {t} ADD INDEX ((n + 1))",
        ],
    ),
    script(
        "unknown_syntax",
        PLAIN,
        &[
            "/* before */ ALTER /*!80000 TABLE */ {t} /* odd ; ' comment */ ADD COLUMN z INT DEFAULT 3 -- behind",
            "ALTER TABLE\n\t`{t}`\n# hash\nADD\nCOLUMN `y` /* , DROP COLUMN n */ VARCHAR(30) DEFAULT ', DROP COLUMN n' COMMENT 'RENAME COLUMN n TO m'",
            "ALTER TABLE {t} ADD COLUMN x INT COLUMN_FORMAT DYNAMIC STORAGE DISK DEFAULT 2 COMMENT 'x', ROW_FORMAT = DYNAMIC",
            "ALTER TABLE {t} ADD COLUMN w INT DEFAULT (1 + 0) VISIBLE, STATS_PERSISTENT = 1",
            "ALTER TABLE {t} ADD COLUMN geo POINT SRID 4326, ADD COLUMN vec VECTOR(3)",
            "ALTER TABLE {t} ADD COLUMN q INT CHECK (q > 0), ADD CONSTRAINT odd CHECK (n <> -5 /* ) */)",
            "ALTER TABLE {t} RENAME COLUMN z TO `z\"z`, RENAME COLUMN y TO `the ``y`",
            "CREATE OR REPLACE VIEW a_view AS SELECT * FROM {t}",
            "DROP VIEW a_view",
            "CREATE PROCEDURE change_it() BEGIN ALTER TABLE {t} ADD COLUMN by_procedure INT DEFAULT 9; END",
            "CALL change_it()",
            "DROP PROCEDURE change_it",
            "GRANT SELECT ON {t} TO CURRENT_USER()",
        ],
    ),
    script(
        "parted",
        "PRIMARY KEY (id)",
        &[
            "ALTER TABLE {t} PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (1000), \
         PARTITION p1 VALUES LESS THAN (3000), PARTITION p2 VALUES LESS THAN MAXVALUE)",
            "ALTER TABLE {t} REORGANIZE PARTITION p1 INTO (PARTITION p1a VALUES LESS THAN (2000), \
         PARTITION p1b VALUES LESS THAN (3000))",
            "ALTER TABLE {t} ADD COLUMN a INT DEFAULT 4",
            "ALTER TABLE {t} REBUILD PARTITION p0",
            "ALTER TABLE {t} REMOVE PARTITIONING",
        ],
    ),
    // Rows go without being logged.
    script(
        "parted_emptied",
        "PRIMARY KEY (id)",
        &[
            "ALTER TABLE {t} PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (1000), \
         PARTITION p1 VALUES LESS THAN (3000), PARTITION p2 VALUES LESS THAN MAXVALUE)",
            "ALTER TABLE {t} TRUNCATE PARTITION p0",
            "ALTER TABLE {t} DROP PARTITION p1",
            "CREATE TABLE parted_aside LIKE {t}; ALTER TABLE parted_aside REMOVE PARTITIONING; \
         INSERT INTO parted_aside (id, n) VALUES (500, 77)",
            "DELETE FROM {t} WHERE id < 1000; ALTER TABLE {t} EXCHANGE PARTITION p0 WITH TABLE parted_aside",
        ],
    ),
];
