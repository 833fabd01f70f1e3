-- The study's roles and their rights; may be run again at any time. Wanted: psql variables owner_password and
-- reader_password. No password is logged: docker-compose.yml sets log_statement and log_min_error_statement.

-- lilm owns the studies and issues the credentials of workers; no superuser.
SELECT 'CREATE ROLE lilm' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'lilm') \gexec
ALTER ROLE lilm LOGIN NOSUPERUSER CREATEROLE PASSWORD :'owner_password';
GRANT pg_signal_backend TO lilm;

-- lilm_reader reads all and writes nothing: the dashboard and the backups.
SELECT 'CREATE ROLE lilm_reader' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'lilm_reader') \gexec
ALTER ROLE lilm_reader LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB BYPASSRLS PASSWORD :'reader_password';
ALTER ROLE lilm_reader SET default_transaction_read_only = on;

-- Nobody else looks into this database, nor into the others of this server.
SELECT format('ALTER DATABASE %I OWNER TO lilm', current_database()) \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO lilm_reader', current_database()) \gexec
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
ALTER SCHEMA public OWNER TO lilm;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO lilm_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO lilm_reader;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO lilm_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE lilm GRANT SELECT ON TABLES TO lilm_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE lilm GRANT SELECT ON SEQUENCES TO lilm_reader;
