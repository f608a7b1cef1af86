# One image for every role; railway*.toml, or whoever runs it, says which. The packages come before our own files, so that
# a change of ours does not install them again.
FROM python:3.13-slim

RUN useradd --create-home --uid 10001 helix && install -d -o helix -g helix /app
USER helix
WORKDIR /app

COPY --chown=helix requirements.lock ./
COPY --chown=helix app/cli/environment.py app/cli/
# The stamp is what the launcher compares; with it, a container starts at once.
RUN python app/cli/environment.py . requirements.lock "requirements.lock $(cksum < requirements.lock)"

COPY --chown=helix . .
ENV HELIX_HOST=::
EXPOSE 8000
ENTRYPOINT ["./helix"]
CMD ["web"]
