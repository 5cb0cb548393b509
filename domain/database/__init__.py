"""The database: tables, migrations, the unit of work, and the repositories behind it."""
