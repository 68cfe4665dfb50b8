# artist-features-lite with the extras av, map, parquet, serve and tags; nothing of it needs to write
# outside /data. In the repository's root:
#   docker build --tag artist-features .
#   docker run --rm --read-only --volume "$PWD:/data" artist-features extract music -o vectors.npz
#   docker run --rm --read-only --volume "$PWD:/data:ro" --publish 127.0.0.1:8000:8000 \
#       artist-features serve lib.index --host 0.0.0.0
FROM python:3.13-slim AS build
WORKDIR /source
COPY setup.py LICENSE ./
COPY packaging packaging
COPY weights weights
COPY artist_features artist_features
RUN python -m pip wheel --no-deps --wheel-dir /wheels ./packaging/lite

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python -m pip install --no-cache-dir "$(echo /wheels/*.whl)[av,map,parquet,serve,tags]"
ENV PYTHONDONTWRITEBYTECODE=1
USER 65534:65534
WORKDIR /data
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["artist-features"]
CMD ["--help"]
