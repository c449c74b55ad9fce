-- What was trained, and what was compared: a line that is run again goes on.
CREATE SCHEMA IF NOT EXISTS lab;
CREATE TABLE IF NOT EXISTS lab.trained (
	model		text NOT NULL,
	variant		text NOT NULL,
	seed		int NOT NULL,
	version		int NOT NULL,
	seconds		float8 NOT NULL,	-- of learning alone, and of the vectors it took
	PRIMARY KEY (model, variant, seed)
);
CREATE TABLE IF NOT EXISTS lab.compared (
	line		text NOT NULL,
	model		text NOT NULL,
	variant		text NOT NULL,
	other		text NOT NULL,		-- the reference
	seed		int NOT NULL,
	task		text NOT NULL,
	metric		text NOT NULL,
	value		float8 NOT NULL,
	other_value	float8 NOT NULL,
	low			float8 NOT NULL,	-- of the difference, paired by user
	high		float8 NOT NULL,
	at			timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (line, model, variant, other, seed, task, metric)
);

-- What the paper reports: table 2 (AUC; of PPP the precision, in percent there)
-- as values; section 6.2 and figures 6 and 7 as differences to the other.
CREATE TABLE IF NOT EXISTS lab.paper (
	variant		text NOT NULL,
	other		text,				-- NULL: a value
	task		text NOT NULL,
	figure		float8 NOT NULL,
	source		text NOT NULL
);
TRUNCATE lab.paper;
INSERT INTO lab.paper
SELECT variant, NULL, task, figure, 'table 2'
FROM (VALUES ('none', .73307, .70221, .74082, .39394), ('gates', .74583, .72139, .75337, .42926),
		('attention', .73901, .71303, .75927, .41350), ('both', .75005, .72519, .77323, .44011)) v (variant, rank, click, follow, price),
	LATERAL (VALUES ('rank', rank), ('click', click), ('follow', follow), ('price', price)) t (task, figure);
INSERT INTO lab.paper VALUES
	('both', 'alone', 'rank', .01, 'section 6.2, figure 6: about'), ('both', 'alone', 'click', .01, 'section 6.2, figure 6: about'),
	('both', 'alone', 'follow', .01, 'section 6.2, figure 6: about'), ('both', 'alone', 'price', .04, 'section 6.2, figure 6: 40 % to 44 %'),
	('RA', 'RS', 'prefer', .025, 'section 6.3, figure 7'), ('FT', 'RS', 'prefer', .025, 'section 6.3, figure 7'),
	('RT', 'RS', 'prefer', -.005, 'section 6.3, figure 7');
