-- The table of somebody else: it was there before Millrace and has a rule of its own, so the films that break it become dead letters
-- while the rest of their transaction commits. Without this file Millrace makes the table itself.
create table if not exists films (
  title           text not null,
  released        text not null,
  us_gross        integer,
  worldwide_gross integer constraint earned_something check (worldwide_gross > 0),
  budget          integer,
  rating          text,
  director        text,
  genre           text,
  imdb_rating     text,
  profit          integer,
  primary key (title, released)
);
