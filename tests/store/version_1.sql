BEGIN TRANSACTION;
CREATE TABLE stepsize_curves (
	run INTEGER NOT NULL,
	kind TEXT NOT NULL,
	length INTEGER NOT NULL,
	shape TEXT NOT NULL,
	steps BLOB,
	dtype TEXT NOT NULL,
	"values" BLOB NOT NULL,
	PRIMARY KEY (run, kind),
	FOREIGN KEY(run) REFERENCES stepsize_runs (id)
);
INSERT INTO "stepsize_curves" VALUES(1,'train_loss',3,'3',NULL,'<f4',X'000000400000803F0000003F');
CREATE TABLE stepsize_evaluations (
	run INTEGER NOT NULL,
	position INTEGER NOT NULL,
	step INTEGER NOT NULL,
	loss DOUBLE,
	metrics JSON NOT NULL,
	PRIMARY KEY (run, position),
	FOREIGN KEY(run) REFERENCES stepsize_runs (id)
)
 WITHOUT ROWID

;
INSERT INTO "stepsize_evaluations" VALUES(1,0,3,0.5,'{}');
CREATE TABLE stepsize_findings (
	id INTEGER NOT NULL,
	study INTEGER NOT NULL,
	run INTEGER,
	code TEXT NOT NULL,
	severity TEXT NOT NULL,
	evidence JSON NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(study) REFERENCES stepsize_studies (id),
	FOREIGN KEY(run) REFERENCES stepsize_runs (id)
);
INSERT INTO "stepsize_findings" VALUES(1,1,1,'too-high','warning','{"alpha":0.5}');
CREATE TABLE stepsize_runs (
	id INTEGER NOT NULL,
	study INTEGER NOT NULL,
	trial INTEGER NOT NULL,
	share DOUBLE NOT NULL,
	seed BIGINT NOT NULL,
	position INTEGER NOT NULL,
	setting JSON NOT NULL,
	status TEXT NOT NULL,
	value DOUBLE,
	train_loss DOUBLE,
	val_loss DOUBLE,
	diverged_at DOUBLE,
	seconds DOUBLE NOT NULL,
	passes DOUBLE NOT NULL,
	cost DOUBLE NOT NULL,
	initial TEXT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (study, trial, share, seed),
	UNIQUE (study, position),
	FOREIGN KEY(study) REFERENCES stepsize_studies (id)
);
INSERT INTO "stepsize_runs" VALUES(1,1,0,1.0,0,0,'{}','Trained for 3 steps.',0.5,NULL,NULL,NULL,0.0,0.0,0.0,'');
CREATE TABLE stepsize_studies (
	id INTEGER NOT NULL,
	name TEXT NOT NULL,
	kind TEXT NOT NULL,
	created TEXT NOT NULL,
	spec JSON NOT NULL,
	status TEXT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (name)
);
INSERT INTO "stepsize_studies" VALUES(1,'digits','sweep','2026-11-25T15:10:37.372169+00:00','{"lr":[0.001,1.0]}','done');
CREATE TABLE stepsize_trials (
	study INTEGER NOT NULL,
	number INTEGER NOT NULL,
	"values" JSON NOT NULL,
	PRIMARY KEY (study, number),
	FOREIGN KEY(study) REFERENCES stepsize_studies (id)
)
 WITHOUT ROWID

;
INSERT INTO "stepsize_trials" VALUES(1,0,'{"lr":0.5}');
CREATE TABLE stepsize_version (
	version INTEGER NOT NULL
);
INSERT INTO "stepsize_version" VALUES(1);
CREATE INDEX ix_stepsize_findings_study ON stepsize_findings (study);
COMMIT;
