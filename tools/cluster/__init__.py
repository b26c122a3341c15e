"""The executor over the workers of a Dask cluster. Imported only when a cluster is asked for."""
