\set u random(1, 20000)
SELECT * FROM dupn_recommend(:u, k => 20, model => 'paper');
