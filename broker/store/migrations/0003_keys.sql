-- Which keys this database was written with, so that a lost or exchanged key folder is refused: entries signed
-- by another key would not verify, and under another index key nothing that people have said would be found.
alter table log add column vkey text;
alter table head add column index_check bytea;
