\set u random(1, 20000)
SELECT dupn_user_vector(:u, model => 'paper') IS NOT NULL;
