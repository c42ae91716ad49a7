"""The HTTP server of `r2d2 serve`.

- `server` puts the app together and runs it by the settings of `config`. `service` is one table
  with its model, `tables` names the tables, and `model_thread` is the thread that runs the models.
- `routes` and `explaining` hold the endpoints, `schema` their requests and responses, `openapi`
  the description of bodies, `request_body` the reading of bodies, `errors` the answers to errors.
- `guard` refuses requests that are not allowed, `bodies` and `connections` those that are too
  large, too slow or too many.
- `telemetry` counts and logs requests. `pictures` and `examples` serve the page in `page/`.
"""
