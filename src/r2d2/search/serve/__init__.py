"""The HTTP server of `r2d2 serve`.

- `server` puts the app together and runs it. `service` is one table and its model, `tables` are all
  tables of a server, and `model_thread` is the thread that runs their models.
- `routes` and `explaining` hold the endpoints, `schema` their requests and responses, `openapi`
  the description of bodies, `request_body` the reading of bodies, `errors` the answers to errors.
- `guard`, `hosts`, `bodies` and `connections` refuse what may not ask, or asks too much.
- `telemetry` counts and logs requests. `pictures` and `examples` feed the page in `page/`.
"""
