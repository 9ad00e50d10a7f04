CREATE TABLE "Tables" (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	table_id TEXT NOT NULL,
	state INTEGER NOT NULL,
	dimension INTEGER NOT NULL,
	created_on INTEGER NOT NULL,
	flag INTEGER DEFAULT '0' NOT NULL,
	index_file_size INTEGER DEFAULT '1024' NOT NULL,
	engine_type INTEGER DEFAULT '1' NOT NULL,
	index_params TEXT NOT NULL,
	metric_type INTEGER DEFAULT '1' NOT NULL,
	owner_table TEXT NOT NULL,
	partition_tag TEXT NOT NULL,
	version TEXT DEFAULT '1.1.0' NOT NULL,
	flush_lsn INTEGER DEFAULT '0' NOT NULL,
	UNIQUE (table_id)
);

CREATE TABLE "TableFiles" (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	table_id TEXT NOT NULL,
	segment_id TEXT NOT NULL,
	engine_type INTEGER DEFAULT '1' NOT NULL,
	file_id TEXT NOT NULL,
	file_type INTEGER DEFAULT '0' NOT NULL,
	file_size INTEGER DEFAULT '0' NOT NULL,
	row_count INTEGER DEFAULT '0' NOT NULL,
	updated_time INTEGER NOT NULL,
	created_on INTEGER NOT NULL,
	date INTEGER DEFAULT '-1' NOT NULL,
	flush_lsn INTEGER DEFAULT '0' NOT NULL
);

CREATE TABLE "Environment" (
	global_lsn INTEGER DEFAULT '0' NOT NULL
);

CREATE TABLE mishards_writer (
	id INTEGER NOT NULL,
	revision INTEGER DEFAULT '0' NOT NULL,
	epoch INTEGER DEFAULT '0' NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE mishards_lease (
	name TEXT NOT NULL,
	holder TEXT DEFAULT '' NOT NULL,
	turn INTEGER DEFAULT '0' NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE mishards_replicas (
	collection TEXT NOT NULL,
	created_on INTEGER NOT NULL,
	replicas INTEGER NOT NULL,
	PRIMARY KEY (collection)
);

CREATE TABLE mishards_drained (
	node TEXT NOT NULL,
	PRIMARY KEY (node)
);

CREATE TABLE "Fields" (
	collection_id TEXT NOT NULL,
	field_name TEXT NOT NULL,
	field_type INTEGER DEFAULT '0' NOT NULL,
	field_params TEXT NOT NULL
);

