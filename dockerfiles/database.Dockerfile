# PostgreSQL 15 with the environment of the public image: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, PGDATA.
# Context: app/database.

ARG BASE_IMAGE=debian:bookworm-slim


FROM ${BASE_IMAGE} AS postgres
# The user comes first: the package would choose its number, and the owner of a volume must not change with a build.
# Its cluster is not wanted: the entry point makes one, on the volume. Nor is its compiler, a third of the image:
# `jit = off` in postgresql.conf goes with that.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
    && groupadd --gid 10001 postgres \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/postgresql --shell /bin/sh postgres \
    && install -d /etc/postgresql-common \
    && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
    && apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends postgresql-15 \
    && dpkg --purge --force-depends libllvm14 libz3-4 \
    && rm -rf /usr/lib/postgresql/15/lib/bitcode /usr/lib/postgresql/15/lib/llvmjit.so \
    && rm -rf /var/log/* /var/cache/debconf/* /usr/share/doc/* /usr/share/man/* /usr/share/postgresql/15/man


# The files go through a stage of their own, so that their modes are ours and not those of a checkout.
FROM ${BASE_IMAGE} AS files
COPY entrypoint.sh /files/usr/local/bin/
COPY postgresql.conf pg_hba.conf /files/etc/todo-database/
RUN chmod -R u=rwX,go=rX /files && chmod 755 /files/usr/local/bin/entrypoint.sh


FROM postgres AS runtime
COPY --from=files /files /
ENV PATH=/usr/lib/postgresql/15/bin:$PATH \
    PGDATA=/var/lib/postgresql/data/pgdata \
    LANG=C.UTF-8
RUN install -d -o 10001 -g 10001 -m 700 /var/lib/postgresql/data \
    && install -d -o 10001 -g 10001 -m 775 /run/postgresql
USER 10001:10001
EXPOSE 5432
# What a fast shutdown is called: transactions are rolled back, clients let go, the disk left clean.
STOPSIGNAL SIGINT
ENTRYPOINT ["entrypoint.sh"]
CMD ["postgres"]
